//! How the program starts and refuses to: exit codes and what it says, by running it.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use expect_test::expect;
use tiergate_control_plane::config::version;

/// Runs the program with nothing in its environment and gives its exit code and both outputs.
fn run(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tiergate-namespace"))
        .args(arguments)
        .env_clear()
        .env("HOME", "/nonexistent")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// Arguments and variables.
type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)]);

/// What the program calls itself. `TIERGATE_VERSION=1.2.3 cargo test` holds it to that.
const VERSION: &str = version(option_env!("TIERGATE_VERSION"), env!("CARGO_PKG_VERSION"));

const NAMESPACE: [&str; 2] = ["--watch-namespace", "openstack"];

const WRONG_STARTS: &[Case] = &[
    (&[], &[]),
    (&["--watch-namespace", "Open Stack"], &[]),
    (
        &[
            "--watch-namespace",
            "openstack",
            "--default-ssl-certificate",
            "ceph/tls",
        ],
        &[],
    ),
    (
        &["--watch-namespace", "openstack"],
        &[(
            "TIERGATE_DEFAULT_BACKEND_SERVICE",
            "kube-system/error-pages",
        )],
    ),
    (
        &["--watch-namespace", "openstack", "--drain-timeout", "10"],
        &[],
    ),
    (
        &[
            "--watch-namespace",
            "openstack",
            "--config",
            "FOLDER/broken.yaml",
        ],
        &[],
    ),
    (
        &["--watch-namespace", "openstack", "--store", "sqlite:x"],
        &[],
    ),
    (&["--watch-namespace", "openstack"], &[]),
    (
        &["--watch-namespace", "openstack", "--kubeconfig", "/nowhere"],
        &[],
    ),
    (
        &[
            "--watch-namespace",
            "openstack",
            "--kubeconfig",
            "FOLDER/empty",
        ],
        &[],
    ),
    (
        &["--watch-namespace", "openstack"],
        &[("KUBECONFIG", "FOLDER/strange")],
    ),
];

#[test]
fn a_wrong_setting_ends_the_start_with_code_3_and_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    for (name, text) in [
        ("broken.yaml", "http_adress: 127.0.0.1:80"),
        ("empty", ""),
        (
            "strange",
            "current-context: a\ncontexts: [{name: b, context: {cluster: c, user: d}}]",
        ),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let mut said = String::new();
    for (arguments, variables) in WRONG_STARTS {
        let arguments: Vec<_> = arguments
            .iter()
            .map(|a| a.replace("FOLDER", path))
            .collect();
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| (*name, value.replace("FOLDER", path)))
            .collect();
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let (code, out, error) = run(&arguments, &variables);
        assert_eq!((code, out.as_str()), (Some(3), ""), "{error}");
        assert_eq!(error.trim_end().lines().count(), 1, "{error}");
        said.push_str(&error.replace(path, "FOLDER"));
    }
    expect![[r#"
        `--watch-namespace` is required: give the name of a namespace, for example openstack.
        `--watch-namespace`: "Open Stack" is not the name of a namespace; write for example openstack.
        `--default-ssl-certificate`: "ceph/tls" is outside of the namespace "openstack" that is watched; name one in it.
        `TIERGATE_DEFAULT_BACKEND_SERVICE`: "kube-system/error-pages" is outside of the namespace "openstack" that is watched; name one in it.
        `--drain-timeout`: "10" is not a time such as 10s; write for example 20s.
        `http_adress` in FOLDER/broken.yaml is not a key of tiergate-namespace; did you mean `http_address`?
        `--store`: "sqlite:x" is not available in this version; leave the setting out.
        `--kubeconfig`: no way to the API server is known: failed to infer config: in-cluster: (failed to read an incluster environment variable: environment variable not found), kubeconfig: (failed to read kubeconfig from '"/nonexistent/.kube/config"': No such file or directory (os error 2)); give the flag, set KUBECONFIG, or start in a pod with a ServiceAccount.
        `--kubeconfig`: cannot use /nowhere: failed to read kubeconfig from '"/nowhere"': No such file or directory (os error 2); name a kubeconfig that holds a current context.
        `--kubeconfig`: cannot use FOLDER/empty: failed to determine current context; name a kubeconfig that holds a current context.
        `--kubeconfig`: no way to the API server is known: failed to infer config: in-cluster: (failed to read an incluster environment variable: environment variable not found), kubeconfig: (failed to load current context: a); give the flag, set KUBECONFIG, or start in a pod with a ServiceAccount.
    "#]].assert_eq(&said);
}

#[test]
fn a_word_that_is_no_flag_ends_with_code_2_and_help_with_0() {
    let mut said = String::new();
    for arguments in [
        &["--http-adress", "127.0.0.1:80"][..],
        &["serve"],
        &["explain"],
        &["explain", "--http-address", "127.0.0.1:80", "x.yaml"],
        &["--vip-mode", "none"],
    ] {
        let (code, _, error) = run(arguments, &[]);
        let first = error
            .lines()
            .find(|line| !line.is_empty())
            .unwrap_or_default();
        writeln!(said, "{} {first}", code.unwrap()).unwrap();
    }
    expect![[r#"
        2 error: unexpected argument '--http-adress' found
        2 error: unrecognized subcommand 'serve'
        2 error: the following required arguments were not provided:
        2 error: unexpected argument '--http-address' found
        2 error: unexpected argument '--vip-mode' found
    "#]]
    .assert_eq(&said);
    let (code, help, _) = run(&["--help"], &[]);
    assert!(
        code == Some(0) && help.contains("--watch-namespace <NAMESPACE>"),
        "{help}"
    );
    let (code, version, _) = run(&["--version"], &[]);
    assert_eq!(
        (code, version),
        (Some(0), format!("tiergate-namespace {VERSION}\n"))
    );
}

#[test]
fn a_taken_port_ends_the_start_with_code_4() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, NOBODY).unwrap();
    for (setting, other) in [
        ("--http-address", "--admin-address"),
        ("--admin-address", "--http-address"),
    ] {
        let kubeconfig = kubeconfig.to_str().unwrap();
        let arguments = [
            setting,
            &taken,
            other,
            "127.0.0.1:0",
            "--https-address",
            "none",
            "--kubeconfig",
            kubeconfig,
        ];
        let (code, _, error) = run(
            &[&NAMESPACE[..], &arguments].concat(),
            &[("TIERGATE_LOG_LEVEL", "off")],
        );
        let name = setting.trim_start_matches('-').replace('-', "_");
        let sentence = format!(
            "`{name}`: cannot listen on {taken}: Address already in use (os error 98); end the process that has it, or \
             name another address.\n"
        );
        assert_eq!((code, error), (Some(4), sentence));
    }
}

#[test]
fn a_socket_that_cannot_be_had_ends_the_start_with_code_4() {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, NOBODY).unwrap();
    std::fs::write(folder.path().join("file"), "precious").unwrap();
    let path = folder.path().to_str().unwrap();
    let mut said = String::new();
    for name in ["file", "no/folder"] {
        let socket = format!("{path}/{name}");
        let arguments = ["--admin-socket", &socket, "--admin-address", "127.0.0.1:0"];
        let arguments = [&NAMESPACE[..], &arguments].concat();
        let variables = [
            ("TIERGATE_LOG_LEVEL", "off"),
            ("KUBECONFIG", kubeconfig.to_str().unwrap()),
        ];
        let (code, _, error) = run(&arguments, &variables);
        assert_eq!(code, Some(4), "{error}");
        said.push_str(&error.replace(path, "FOLDER"));
    }
    expect![[r#"
        `admin_socket`: cannot listen on FOLDER/file: there is a file that is no socket; name a path in a folder that this process may write to.
        `admin_socket`: cannot listen on FOLDER/no/folder: No such file or directory (os error 2); name a path in a folder that this process may write to.
    "#]].assert_eq(&said);
    let kept = std::fs::read_to_string(folder.path().join("file")).unwrap();
    assert_eq!(kept, "precious");
}

/// A kubeconfig of an API server that nobody listens for.
const NOBODY: &str = "
apiVersion: v1
kind: Config
current-context: a
contexts: [{name: a, context: {cluster: a, user: a}}]
clusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}]
users: [{name: a, user: {token: t}}]
";

#[test]
fn explain_says_what_objects_mean() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("objects.yaml");
    std::fs::write(&path, OBJECTS).unwrap();
    let path = path.to_str().unwrap();
    let (code, out, error) = run(&["explain", "--watch-namespace", "openstack", path], &[]);
    assert_eq!((code, error.as_str()), (Some(0), ""), "{error}");
    for text in ["keystone.example", "10.0.0.7:5000"] {
        assert!(out.contains(text), "{text} is not in\n{out}");
    }
    let explain = ["explain", "--watch-namespace", "openstack", path];
    for (url, way) in [
        ("http://keystone.example/v3", "ingress: openstack/keystone"),
        ("http://nobody.example/", "404"),
    ] {
        let (code, out, _) = run(&[&explain[..], &["--request", url]].concat(), &[]);
        assert!(
            code == Some(0) && out.contains(way),
            "{way} is not in\n{out}"
        );
    }
    // An Ingress of another namespace or class is not ours.
    for other in [["--watch-namespace", "ceph"], ["--ingress-class", "other"]] {
        let arguments = ["explain", "--watch-namespace", "openstack", path];
        let arguments: Vec<_> = match other[0] {
            "--watch-namespace" => ["explain", path].into_iter().chain(other).collect(),
            _ => arguments.into_iter().chain(other).collect(),
        };
        let (_, out, error) = run(&arguments, &[]);
        assert!(
            error.is_empty() && !out.contains("10.0.0.7:5000"),
            "{out}{error}"
        );
    }
    // A problem is shown, and told by the exit code.
    let lonely = folder.path().join("lonely.yaml");
    std::fs::write(&lonely, OBJECTS.split("---").next().unwrap()).unwrap();
    let arguments = [
        "explain",
        "--watch-namespace",
        "openstack",
        lonely.to_str().unwrap(),
    ];
    let (code, out, _) = run(&arguments, &[]);
    assert!(
        code == Some(1) && out.contains("conditions:"),
        "{code:?}\n{out}"
    );
    let (code, _, error) = run(&["explain", "--watch-namespace", "a", "/nowhere.yaml"], &[]);
    assert_eq!(code, Some(3));
    expect![[r#"
        cannot read /nowhere.yaml: No such file or directory (os error 2); name a readable YAML file.
    "#]].assert_eq(&error);
    let broken = folder.path().join("broken.yaml");
    std::fs::write(
        &broken,
        "kind: Ingress\napiVersion: extensions/v1beta1\nmetadata: {name: old}\n",
    )
    .unwrap();
    let (code, _, error) = run(
        &[
            "explain",
            "--watch-namespace",
            "a",
            broken.to_str().unwrap(),
        ],
        &[],
    );
    assert_eq!(code, Some(3));
    expect![[r#"
        FOLDER/broken.yaml: Ingress old: apiVersion "extensions/v1beta1" is not supported, only "networking.k8s.io/v1".
    "#]].assert_eq(&error.replace(folder.path().to_str().unwrap(), "FOLDER"));
}

const OBJECTS: &str = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: keystone, namespace: openstack}
spec:
  ingressClassName: tiergate
  rules:
  - host: keystone.example
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: keystone, port: {number: 80}}}}]}
---
apiVersion: v1
kind: Service
metadata: {name: keystone, namespace: openstack}
spec: {ports: [{port: 80, targetPort: 5000}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: keystone-1, namespace: openstack, labels: {kubernetes.io/service-name: keystone}}
addressType: IPv4
ports: [{port: 5000}]
endpoints: [{addresses: [10.0.0.7], conditions: {ready: true}}]
";
