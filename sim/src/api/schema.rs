//! Unknown and mistyped fields, by the types of k8s-openapi. Pure.
