//! Checks the query parameters of writes. Pure.
//!
//! In: a query and the verb that it goes with. Out: nothing, or the refusal of the real server.

use super::request::Query;
use super::status::Failure;
use super::validate::Cause;

/// The longest name of a field manager.
const MANAGER_BYTES_MAX: usize = 128;

/// Refuses parameters that the verb cannot take.
pub(crate) fn check(verb: &str, query: &Query) -> Result<(), Failure> {
    let kind = match verb {
        "create" => "CreateOptions",
        "update" => "UpdateOptions",
        "patch" => "PatchOptions",
        "delete" | "deletecollection" => "DeleteOptions",
        _ => return Ok(()),
    };
    let mut causes = Vec::new();
    if !matches!(query.text("dryRun"), "" | "All") {
        let sent = query.text("dryRun");
        causes.push(unsupported("dryRun", &format!("[{sent:?}]"), "\"All\""));
    }
    if kind == "DeleteOptions" {
        let policy = query.text("propagationPolicy");
        if !matches!(policy, "" | "Background" | "Foreground" | "Orphan") {
            let known = "\"Foreground\", \"Background\", \"Orphan\", \"nil\"";
            causes.push(unsupported(
                "propagationPolicy",
                &format!("{policy:?}"),
                known,
            ));
        } else if !policy.is_empty() && query.has("orphanDependents") {
            causes.push(Cause {
                reason: "FieldValueInvalid",
                message: format!(
                    "Invalid value: {policy:?}: orphanDependents and deletionPropagation cannot be both set"
                ),
                field: "propagationPolicy".to_owned(),
            });
        }
    } else {
        check_manager(query.text("fieldManager"), &mut causes);
        let strictness = query.text("fieldValidation");
        if !matches!(strictness, "" | "Ignore" | "Strict" | "Warn") {
            let known = "\"\", \"Ignore\", \"Strict\", \"Warn\"";
            causes.push(unsupported(
                "fieldValidation",
                &format!("{strictness:?}"),
                known,
            ));
        }
    }
    if causes.is_empty() {
        return Ok(());
    }
    Err(Failure::invalid_kind("meta.k8s.io", kind, "", &causes))
}

fn unsupported(field: &str, sent: &str, known: &str) -> Cause {
    Cause {
        reason: "FieldValueNotSupported",
        message: format!("Unsupported value: {sent}: supported values: {known}"),
        field: field.to_owned(),
    }
}

fn check_manager(manager: &str, causes: &mut Vec<Cause>) {
    if manager.len() > MANAGER_BYTES_MAX {
        causes.push(Cause {
            reason: "FieldValueTooLong",
            message: format!("Too long: may not be more than {MANAGER_BYTES_MAX} bytes"),
            field: "fieldManager".to_owned(),
        });
    }
    if let Some((position, c)) = manager.char_indices().find(|(_, c)| c.is_control()) {
        let code = u32::from(c);
        let shown: String = manager
            .chars()
            .map(|c| {
                if c.is_control() {
                    format!("\\x{:02x}", u32::from(c))
                } else {
                    c.to_string()
                }
            })
            .collect();
        causes.push(Cause {
            reason: "FieldValueInvalid",
            message: format!(
                "Invalid value: \"{shown}\": invalid character U+{code:04X} (at position {position})"
            ),
            field: "fieldManager".to_owned(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_parameters_are_named() {
        for (verb, query, wanted) in [
            (
                "create",
                "dryRun=All&fieldValidation=Strict&fieldManager=me",
                "",
            ),
            (
                "create",
                "dryRun=Nope",
                "dryRun: Unsupported value: [\"Nope\"]: supported values: \"All\"",
            ),
            (
                "update",
                "fieldManager=%01",
                "fieldManager: Invalid value: \"\\x01\": invalid character U+0001 (at position 0)",
            ),
            ("delete", "propagationPolicy=Orphan", ""),
            (
                "delete",
                "propagationPolicy=Orphan&orphanDependents=true",
                "propagationPolicy: Invalid value: \"Orphan\": orphanDependents and deletionPropagation cannot be both set",
            ),
            ("get", "dryRun=Nope", ""),
        ] {
            let found = check(verb, &Query::parse(query))
                .err()
                .map(|failure| failure.message)
                .unwrap_or_default();
            let found = found
                .split_once(" is invalid: ")
                .map_or(found.as_str(), |(_, list)| list);
            assert_eq!(found, wanted, "{verb} {query}");
        }
    }
}
