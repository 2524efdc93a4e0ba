//! A short name for a pod template: the suffix of a Deployment's ReplicaSets and of a DaemonSet's revisions.
//!
//! The real controllers' hash depends on how Go prints a struct; only its form is kept here. Pure.

use k8s_openapi::api::core::v1::PodTemplateSpec;

/// The letters of generated names: no vowels, so no words; no digits that look like letters.
const NAME_LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The name of `template`. After a collision another count gives another name. (FNV-1a, RFC 9923.)
pub(crate) fn hash(template: &PodTemplateSpec, collisions: i32) -> String {
    let json = serde_json::to_vec(template).expect("a pod template has only string keys");
    let bytes = json.into_iter().chain(collisions.to_le_bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let digits = hash.to_string();
    let letters = digits
        .bytes()
        .map(|digit| char::from(NAME_LETTERS[usize::from(digit) % NAME_LETTERS.len()]));
    letters.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(image: &str) -> PodTemplateSpec {
        serde_json::from_value(json!({
            "metadata": { "labels": { "app": "web" } },
            "spec": { "containers": [{ "name": "app", "image": image }] },
        }))
        .unwrap()
    }

    #[test]
    fn a_template_has_one_name_until_it_changes_or_collides() {
        assert_eq!(hash(&template("a"), 0), hash(&template("a"), 0));
        assert_ne!(hash(&template("a"), 0), hash(&template("b"), 0));
        assert_ne!(hash(&template("a"), 0), hash(&template("a"), 1));
    }
}
