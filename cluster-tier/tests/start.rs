//! How the program starts and refuses to: exit codes and what it says, by running it.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::process::{Command, Stdio};

use expect_test::expect;

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tiergate-cluster"))
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn a_setting_that_nobody_would_act_on_is_refused_with_code_3() {
    let mut said = String::new();
    for arguments in [
        ["--vip-mode", "l2"],
        ["--vip-mode", "external"],
        ["--vip-mode", "L2"],
        ["--vip-address", "192.0.2.10/32"],
        ["--vip-interface", "eth0"],
        ["--publish-address", "192.0.2.10:80"],
        ["--store", "sqlite:/var/lib/tiergate"],
        ["--default-ssl-certificate", "tls"],
        ["--kubeconfig", "/nowhere"],
    ] {
        let (code, out, error) = run(&arguments);
        assert_eq!((code, out.as_str()), (Some(3), ""), "{error}");
        said.push_str(&error);
    }
    expect![[r#"
        `--vip-mode`: "l2" is not available in this version; leave the setting out.
        `--vip-mode`: "external" is not available in this version; leave the setting out.
        `--vip-mode`: "L2" is not none, external, routed, l2 or keepalived; write for example none.
        `--vip-address`: "192.0.2.10/32" is not available in this version; leave the setting out.
        `--vip-interface`: "eth0" is not available in this version; leave the setting out.
        `--publish-address`: "192.0.2.10:80" is not an IP address or a DNS name; write for example 192.0.2.1.
        `--store`: "sqlite:/var/lib/tiergate" is not available in this version; leave the setting out.
        `--default-ssl-certificate`: "tls" is not NAMESPACE/NAME; write for example kube-system/front-door-tls.
        `--kubeconfig`: cannot use /nowhere: failed to read kubeconfig from '"/nowhere"': No such file or directory (os error 2); name a kubeconfig that holds a current context.
    "#]].assert_eq(&said);
}

#[test]
fn a_flag_of_the_namespace_tier_ends_with_code_2() {
    let (code, _, error) = run(&["--watch-namespace", "a"]);
    assert_eq!(code, Some(2));
    assert!(
        error.contains("unexpected argument '--watch-namespace'"),
        "{error}"
    );
    let (code, help, _) = run(&["--help"]);
    assert!(
        code == Some(0) && help.contains("--vip-mode <MODE>"),
        "{help}"
    );
}

#[test]
fn explain_covers_all_namespaces() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("objects.yaml");
    let ingress = |namespace: &str| {
        format!(
            "---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: front, namespace: {namespace}}}
spec:
  ingressClassName: tiergate-cluster
  rules:
  - host: '*.{namespace}.svc.cluster.local'
    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: ingress, port: {{name: http}}}}}}}}]}}
"
        )
    };
    std::fs::write(&path, ingress("openstack") + &ingress("ceph")).unwrap();
    let (_, out, error) = run(&["explain", path.to_str().unwrap()]);
    assert_eq!(error, "");
    for host in ["openstack.svc.cluster.local", "ceph.svc.cluster.local"] {
        assert!(out.contains(host), "{host} is not in\n{out}");
    }
}
