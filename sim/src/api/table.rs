//! What `kubectl get` prints: columns and cells per kind. Pure.
