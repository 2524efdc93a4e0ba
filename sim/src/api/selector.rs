//! Label and field selectors. Pure.
//!
//! In: the text of a query parameter. Out: a [`Selector`] that says whether an object is meant, or the real server's
//! complaint about the text.

use std::fmt::Write as _;

use serde_json::Value;

use super::resources::Resource;

/// Which objects a request is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<(String, bool, String)>,
    is_of_new_events: bool,
}

#[derive(Clone, Debug)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Greater(i64),
    Less(i64),
}

// === impl Selector ===

impl Selector {
    /// Reads both selectors of a request.
    pub(crate) fn parse(resource: &Resource, labels: &str, fields: &str) -> Result<Self, String> {
        let labels = parse_labels(labels)?;
        let mut parsed = Vec::new();
        for term in split_fields(fields) {
            let (field, is_equal, value) = split_term(&term).ok_or_else(|| {
                format!("invalid selector: '{fields}'; can't understand '{term}'")
            })?;
            check_field(resource, &field)?;
            parsed.push((field, is_equal, value));
        }
        let is_of_new_events = resource.group == "events.k8s.io";
        Ok(Self {
            labels,
            fields: parsed,
            is_of_new_events,
        })
    }

    /// Whether everything is meant.
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Narrows the selector to one name.
    pub(crate) fn require_name(&mut self, name: &str) {
        self.fields
            .push(("metadata.name".to_owned(), true, name.to_owned()));
    }

    /// Whether the object is meant.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.labels
            .iter()
            .all(|requirement| requirement.matches(&object["metadata"]["labels"]))
            && self.fields.iter().all(|(field, is_equal, wanted)| {
                (self.field_of(object, field) == *wanted) == *is_equal
            })
    }

    fn field_of(&self, object: &Value, field: &str) -> String {
        let path = if self.is_of_new_events {
            old_event_field(field)
        } else {
            field
        };
        let path = match path {
            "source" => "source.component",
            other => other,
        };
        let found = path.split('.').fold(object, |at, step| &at[step]);
        match found {
            Value::String(text) => text.clone(),
            Value::Null => default_of(field),
            other => other.to_string(),
        }
    }
}

/// What a field that is left out counts as.
fn default_of(field: &str) -> String {
    match field {
        "spec.hostNetwork" | "spec.unschedulable" => "false".to_owned(),
        _ => String::new(),
    }
}

/// Events are stored in the core form.
fn old_event_field(field: &str) -> &str {
    match field {
        "reportingController" => "reportingComponent",
        "regarding.kind" => "involvedObject.kind",
        "regarding.namespace" => "involvedObject.namespace",
        "regarding.name" => "involvedObject.name",
        "regarding.uid" => "involvedObject.uid",
        "regarding.apiVersion" => "involvedObject.apiVersion",
        "regarding.resourceVersion" => "involvedObject.resourceVersion",
        "regarding.fieldPath" => "involvedObject.fieldPath",
        other => other,
    }
}

// === impl Requirement ===

impl Requirement {
    fn matches(&self, labels: &Value) -> bool {
        let value = labels.get(&self.key).and_then(Value::as_str);
        let number = value.and_then(|value| value.parse::<i64>().ok());
        match &self.test {
            Test::In(wanted) => value.is_some_and(|value| wanted.iter().any(|one| one == value)),
            Test::NotIn(banned) => {
                !value.is_some_and(|value| banned.iter().any(|one| one == value))
            }
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::Greater(limit) => number.is_some_and(|number| number > *limit),
            Test::Less(limit) => number.is_some_and(|number| number < *limit),
        }
    }
}

// --- fields ---

/// Splits at commas that are not escaped.
fn split_fields(text: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut is_escaped = false;
    for c in text.chars() {
        if c == ',' && !is_escaped {
            terms.push(String::new());
        } else if let Some(last) = terms.last_mut() {
            last.push(c);
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    terms.retain(|term| !term.is_empty());
    terms
}

fn split_term(term: &str) -> Option<(String, bool, String)> {
    let unescape = |text: &str| {
        text.replace("\\,", ",")
            .replace("\\=", "=")
            .replace("\\\\", "\\")
    };
    let at = term.find(['=', '!'])?;
    let (field, rest) = term.split_at(at);
    let (is_equal, value) = if let Some(value) = rest.strip_prefix("!=") {
        (false, value)
    } else if let Some(value) = rest.strip_prefix("==") {
        (true, value)
    } else {
        (true, rest.strip_prefix('=')?)
    };
    Some((field.to_owned(), is_equal, unescape(value)))
}

fn check_field(resource: &Resource, field: &str) -> Result<(), String> {
    let extra: &[&str] = match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Pod") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        ("", "Node") => &["spec.unschedulable"],
        ("", "Namespace") => &["status.phase"],
        ("", "Secret") => &["type"],
        ("", "Service") => &["spec.type", "spec.clusterIP"],
        ("", "ReplicationController") => &["status.replicas"],
        ("batch", "Job") => &["status.successful"],
        ("", "Event") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("events.k8s.io", _) => &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
        _ => &[],
    };
    if matches!(field, "metadata.name" | "metadata.namespace") || extra.contains(&field) {
        return Ok(());
    }
    if extra.is_empty() && !resource.is_custom() {
        return Err(format!(
            "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        ));
    }
    Err(format!("field label not supported: {field}"))
}

// --- labels ---

/// A word, or one of the signs of the language.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Sign(&'static str),
    End,
}

struct Tokens {
    tokens: Vec<Token>,
    at: usize,
}

impl Tokens {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).unwrap_or(&Token::End)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }
}

fn tokens(text: &str) -> Vec<Token> {
    const SIGNS: &[&str] = &["==", "!=", "=", "!", "(", ")", ",", ">", "<"];
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(&sign) = SIGNS.iter().find(|&&sign| rest.starts_with(sign)) {
            tokens.push(Token::Sign(sign));
            rest = rest[sign.len()..].trim_start();
        } else {
            let end = rest
                .find(|c: char| c.is_whitespace() || "=!(),><".contains(c))
                .unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = rest[end..].trim_start();
        }
    }
    tokens
}

fn shown(token: &Token) -> &str {
    match token {
        Token::Word(word) => word,
        Token::Sign(sign) => sign,
        Token::End => "",
    }
}

fn parse_labels(text: &str) -> Result<Vec<Requirement>, String> {
    let mut tokens = Tokens {
        tokens: tokens(text),
        at: 0,
    };
    let mut requirements = Vec::new();
    while *tokens.peek() != Token::End {
        let requirement = parse_requirement(&mut tokens)
            .map_err(|problem| format!("unable to parse requirement: {problem}"))?;
        requirements.push(requirement);
        match tokens.next() {
            Token::End => break,
            Token::Sign(",") => match tokens.peek() {
                Token::Word(_) | Token::Sign("!") => {}
                other => {
                    return Err(format!(
                        "found '{}', expected: identifier after ','",
                        shown(other)
                    ));
                }
            },
            other => {
                return Err(format!(
                    "found '{}', expected: ',' or 'end of string'",
                    shown(&other)
                ));
            }
        }
    }
    Ok(requirements)
}

fn parse_requirement(tokens: &mut Tokens) -> Result<Requirement, String> {
    let is_negated = *tokens.peek() == Token::Sign("!");
    if is_negated {
        tokens.next();
    }
    let key = match tokens.next() {
        Token::Word(word) => word,
        other @ (Token::Sign(_) | Token::End) => {
            return Err(format!("found '{}', expected: identifier", shown(&other)));
        }
    };
    check_key(&key)?;
    if is_negated {
        return Ok(Requirement {
            key,
            test: Test::Absent,
        });
    }
    if matches!(tokens.peek(), Token::End | Token::Sign(",")) {
        return Ok(Requirement {
            key,
            test: Test::Exists,
        });
    }
    let operator = tokens.next();
    let test = match shown(&operator) {
        "in" => Test::In(parse_set(tokens)?),
        "notin" => Test::NotIn(parse_set(tokens)?),
        "=" | "==" => Test::In(vec![parse_value(tokens)?]),
        "!=" => Test::NotIn(vec![parse_value(tokens)?]),
        ">" | "gt" => Test::Greater(parse_number(tokens, "Gt")?),
        "<" | "lt" => Test::Less(parse_number(tokens, "Lt")?),
        other => {
            return Err(format!(
                "found '{other}', expected: in, notin, =, ==, !=, gt, lt"
            ));
        }
    };
    check_values(&key, &test)?;
    Ok(Requirement { key, test })
}

fn parse_value(tokens: &mut Tokens) -> Result<String, String> {
    match tokens.peek() {
        Token::End | Token::Sign(",") => Ok(String::new()),
        Token::Word(_) => Ok(shown(&tokens.next()).to_owned()),
        other @ Token::Sign(_) => Err(format!("found '{}', expected: identifier", shown(other))),
    }
}

fn parse_number(tokens: &mut Tokens, _operator: &str) -> Result<i64, String> {
    let value = parse_value(tokens)?;
    value.parse().map_err(|_| {
        format!("values[0]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer")
    })
}

fn parse_set(tokens: &mut Tokens) -> Result<Vec<String>, String> {
    let open = tokens.next();
    if open != Token::Sign("(") {
        return Err(format!("found '{}' expected: '('", shown(&open)));
    }
    let mut values = Vec::new();
    let mut is_value_due = true;
    loop {
        match tokens.next() {
            Token::Word(word) => {
                values.push(word);
                is_value_due = false;
            }
            Token::Sign(",") => {
                if is_value_due {
                    values.push(String::new());
                }
                is_value_due = true;
            }
            Token::Sign(")") => {
                if is_value_due {
                    values.push(String::new());
                }
                return Ok(values);
            }
            other => {
                return Err(format!(
                    "found '{}', expected: ',', ')' or identifier",
                    shown(&other)
                ));
            }
        }
    }
}

const NAME_RULE: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE_RULE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

fn is_label_name(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    edge(text.chars().next())
        && edge(text.chars().last())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn check_key(key: &str) -> Result<(), String> {
    let name = key.rsplit_once('/').map_or(key, |(_, name)| name);
    if is_label_name(name) && name.len() <= 63 {
        Ok(())
    } else {
        Err(format!("<nil>: Invalid value: {key:?}: {NAME_RULE}"))
    }
}

fn check_values(key: &str, test: &Test) -> Result<(), String> {
    let (Test::In(values) | Test::NotIn(values)) = test else {
        return Ok(());
    };
    for (index, value) in values.iter().enumerate() {
        let mut complaint = format!("values[{index}][{key}]: Invalid value: {value:?}: ");
        if value.len() > 63 {
            complaint.push_str("must be no more than 63 bytes");
            return Err(complaint);
        }
        if !value.is_empty() && !is_label_name(value) {
            let _ = write!(complaint, "{VALUE_RULE}");
            return Err(complaint);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::resources::Registry;

    fn selected(
        resource: &str,
        labels: &str,
        fields: &str,
        object: &Value,
    ) -> Result<bool, String> {
        let resource = Registry::built_in()
            .get("", "v1", resource)
            .expect("built in");
        Selector::parse(&resource, labels, fields).map(|selector| selector.matches(object))
    }

    #[test]
    fn label_selectors_choose_as_the_real_server_does() {
        let object = json!({"metadata": {"labels": {"app": "web", "num": "5", "empty": ""}}});
        for (text, wanted) in [
            ("app=web", true),
            ("app==web", true),
            ("app!=web", false),
            ("app", true),
            ("!app", false),
            ("other!=x", true),
            ("other notin (x)", true),
            ("app in (web,db)", true),
            ("app notin (web)", false),
            ("empty in (a,)", true),
            ("app=web,app=db", false),
            ("num>4", true),
            ("num<5", false),
            ("", true),
            ("app in (web), num", true),
            ("empty=", true),
        ] {
            assert_eq!(selected("pods", text, "", &object), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn bad_selectors_are_refused() {
        for text in ["a b", "a=b=c", "app in web", "-a=b", "num>x", "%"] {
            assert!(selected("pods", text, "", &json!({})).is_err(), "{text}");
        }
        for text in ["spec.nope=x", "metadata.name", "metadata.name in (a)"] {
            assert!(selected("pods", "", text, &json!({})).is_err(), "{text}");
        }
    }

    #[test]
    fn field_selectors_read_the_fields_of_a_kind() {
        let pod = json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}});
        for (text, wanted) in [
            ("spec.nodeName=n1,status.phase!=Failed", true),
            ("metadata.name!=a", false),
            ("spec.hostNetwork=false", true),
            ("status.podIP=", true),
        ] {
            assert_eq!(selected("pods", "", text, &pod), Ok(wanted), "{text}");
        }
    }
}
