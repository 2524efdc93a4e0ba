use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;

use expect_test::expect_file;

use super::*;

/// What a start of the cluster tier with these arguments, variables and file says.
fn start(
    arguments: &[&str],
    variables: &[(&str, &str)],
    file: Option<&str>,
) -> Result<(Layers, Common), Stop> {
    let folder = tempfile::tempdir().unwrap();
    let mut all: Vec<OsString> = vec!["tiergate-cluster".into()];
    if let Some(text) = file {
        let path = folder.path().join("tiergate.yaml");
        std::fs::File::create(&path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        all.extend(["--config".into(), path.into()]);
    }
    all.extend(arguments.iter().map(OsString::from));
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    match invocation(Tier::Cluster, "1.2.3-rc.1", all, variables)? {
        Invocation::Serve(layers) => {
            let common = Common::from_layers(&layers)?;
            layers.all(&keys::VIP_ADDRESS)?;
            layers.one(&keys::VIP_MODE)?;
            layers.maybe(&keys::VIP_INTERFACE)?;
            layers.all(&keys::SECRET_NAMESPACES)?;
            layers.one(&keys::SECRET_REFRESH)?;
            Ok((layers, common))
        }
        Invocation::Explain { .. } | Invocation::Probe(_) | Invocation::ClearStatus(_) => {
            panic!("no case asks for these")
        }
    }
}

/// The sentence of a refused start, with the folder of the file left out.
fn sentence(arguments: &[&str], variables: &[(&str, &str)], file: Option<&str>) -> String {
    match start(arguments, variables, file) {
        Ok(_) => "starts".to_owned(),
        Err(Stop::Usage(error)) => format!("usage: {}", error.kind()),
        Err(Stop::Invalid(invalid)) => {
            let text = invalid.to_string();
            let Some(end) = text.find("/tiergate.yaml") else {
                return text;
            };
            let begin = text[..end].rfind(' ').map_or(0, |at| at + 1);
            format!("{}{}", &text[..begin], &text[end + 1..])
        }
    }
}

const BAD_FLAGS: &[&[&str]] = &[
    &["--http-address", "localhost:80"],
    &["--http-address", "10.0.0.1"],
    &["--http-address", ""],
    &["--http-address", "0.0.0.0:70000"],
    &["--https-address", "[::1:443"],
    &["--http-address", "127.0.0.1:80,127.0.0.1:80"],
    &[
        "--http-address",
        "127.0.0.1:80",
        "--https-address",
        "127.0.0.1:80",
    ],
    &["--admin-address", "0.0.0.0:8080"],
    &["--http-address", "none", "--https-address", "none"],
    &["--admin-address", "none"],
    &["--trusted-proxies", "10.0.0.0/33"],
    &["--trusted-proxies", "10.0.0.0/8", "everybody"],
    &["--upstream-source-address", "eth0"],
    &["--ingress-class", "Nginx"],
    &["--ingress-class", ""],
    &["--ingress-class", "none"],
    &["--ingress-class", "a", "--ingress-class", "a"],
    &["--watch-ingress-without-class=maybe"],
    &["--default-backend-service", "error-pages"],
    &["--default-backend-service", "Kube/error-pages"],
    &["--default-ssl-certificate", "kube-system/a/b"],
    &["--secret-namespaces", "*"],
    &["--secret-namespaces", "kube-system/tls"],
    &["--secret-namespaces", "a", "--secret-namespaces", "a"],
    &["--secret-refresh", "0s"],
    &["--secret-refresh", "never"],
    &["--election-id", "my lease"],
    &[
        "--election-id",
        "a-name-that-is-longer-than-the-value-of-a-label-may-be-by-one-more",
    ],
    &["--publish-address", "192.0.2.1:80"],
    &[
        "--publish-address",
        "192.0.2.1",
        "--publish-service",
        "edge/front",
    ],
    &["--publish-service", "front"],
    &["--store", "sqlite:/var/lib/tiergate"],
    &["--vip-mode", "l2"],
    &["--vip-mode", "external"],
    &["--vip-mode", "magic"],
    &["--vip-address", "192.0.2.1/32"],
    &["--vip-interface", "eth0"],
    &["--kubeconfig", ""],
    &["--config", "/nowhere/tiergate.yml"],
    &["--config", "/"],
    &["--log-format", "xml"],
    &["--log-level", "loud"],
    &["--worker-threads", "0"],
    &["--worker-threads", "2000"],
    &["--worker-threads", "-1"],
    &["--worker-threads", "many"],
    &["--drain-timeout", "10"],
    &["--drain-timeout", "2h"],
    &["--drain-timeout", "10 s"],
    &["--drain-timeout", "s"],
    &["--drain-timeout", "99999999999999999999h"],
    &["--drain-timeout", "1s", "--drain-timeout", "2s"],
    &["--http-adress", "127.0.0.1:80"],
    &["--watch-namespace", "a"],
    &["serve"],
];

#[test]
fn a_bad_flag_is_refused_in_one_sentence() {
    let mut said = String::new();
    for case in BAD_FLAGS {
        writeln!(said, "{}\n  {}", case.join(" "), sentence(case, &[], None)).unwrap();
    }
    expect_file!["../../testdata/config/bad-flags.txt"].assert_eq(&said);
}

const BAD_FILES: &[&str] = &[
    "http_adress: 127.0.0.1:80",
    "http-address: 127.0.0.1:80",
    "limits: {head_byte_max: 1Ki}",
    "limits: 5",
    "something_else_entirely: 1",
    "watch_namespace: a",
    "config: other.yaml",
    "http_address: {ip: 127.0.0.1}",
    "http_address: [[127.0.0.1:80]]",
    "http_address: 8080",
    "worker_threads: [1, 2]",
    "worker_threads: 1.5",
    "worker_threads: true",
    "limits: {head_bytes_max: 12}",
    "limits: {head_bytes_max: 32k}",
    "limits: {head_bytes_max: 32 Ki}",
    "limits: {headers_max: 1Ki}",
    "limits: {tries_max: 0}",
    "limits: {tries_max: -1}",
    "limits: {body_bytes_max: 18446744073709551615Gi}",
    "timeouts: {connect: 5}",
    "timeouts: {connect: 0s}",
    "timeouts: {connect: 5 seconds}",
    "drain_delay: -5s",
    "via: perhaps",
    "ssl_redirect: sometimes",
    "hsts: {max_age: forever}",
    "hsts: {max_age: 87601h}",
    "hsts: {preload: true}",
    "hsts: {max-age: 1h}",
    "- a\n- b",
    "just text",
    "a: 1\na: 2",
    "a: [1",
    "1: 2",
];

#[test]
fn a_bad_file_is_refused_in_one_sentence() {
    let mut said = String::new();
    for case in BAD_FILES {
        writeln!(said, "{case:?}\n  {}", sentence(&[], &[], Some(case))).unwrap();
    }
    expect_file!["../../testdata/config/bad-files.txt"].assert_eq(&said);
}

#[test]
fn a_bad_variable_is_refused_and_an_unknown_one_is_told() {
    let cases = [
        ("TIERGATE_HTTP_ADDRESS", "tcp://10.0.0.1:80"),
        ("TIERGATE_LIMITS__TRIES_MAX", "0"),
        ("TIERGATE_VIP_MODE", "routed"),
        ("TIERGATE_CONFIG", "/nowhere"),
        ("TIERGATE_DRAIN_TIMEOUT", "soon"),
        ("TIERGATE_DRAIN_TIMEOUT", ""),
        ("TIERGATE_HTTP_ADDRES", "127.0.0.1:80"),
        ("TIERGATE_LIMITS", "5"),
        ("TIERGATE_LIMITS_TRIES_MAX", "0"),
        ("TIERGATE_UNHEARD_OF", "1"),
        ("TIERGATE_http_address", "x"),
        ("OTHER_HTTP_ADDRESS", "x"),
    ];
    let mut said = String::new();
    for (name, value) in cases {
        let answer = match start(&[], &[(name, value)], None) {
            Ok((layers, _)) => format!("starts {:?}", layers.warnings()),
            Err(stop) => stop.to_string(),
        };
        writeln!(said, "{name}={value}\n  {answer}").unwrap();
    }
    expect_file!["../../testdata/config/bad-variables.txt"].assert_eq(&said);
}

/// What a kubelet adds to every container of a namespace for a Service and its ports.
fn service_links(service: &str) -> Vec<(String, String)> {
    let name = service.to_ascii_uppercase().replace('-', "_");
    [
        ("SERVICE_HOST", "10.0.0.11"),
        ("SERVICE_PORT", "80"),
        ("SERVICE_PORT_HTTP", "80"),
        ("PORT", "tcp://10.0.0.11:80"),
        ("PORT_80_TCP", "tcp://10.0.0.11:80"),
        ("PORT_80_TCP_PROTO", "tcp"),
        ("PORT_80_TCP_PORT", "80"),
        ("PORT_80_TCP_ADDR", "10.0.0.11"),
    ]
    .map(|(suffix, value)| (format!("{name}_{suffix}"), value.to_owned()))
    .to_vec()
}

#[test]
fn the_variables_of_services_do_no_harm_whatever_the_services_are_called() {
    for service in [
        "tiergate",
        "tiergate-http-address",
        "tiergate-http",
        "tiergate-store",
        "tiergate-default-backend",
        "tiergate-limits",
        "tiergate-limits--tries-max",
        "tiergate-port",
    ] {
        let layers = Layers::new(Tier::Cluster).environment(service_links(service));
        assert_eq!(layers.warnings(), &[] as &[String], "{service}");
        let common = Common::from_layers(&layers).unwrap();
        assert_eq!(
            format!("{common:?}"),
            format!(
                "{:?}",
                Common::from_layers(&Layers::new(Tier::Cluster)).unwrap()
            )
        );
    }
}

#[test]
fn no_setting_has_a_name_that_a_service_could_take() {
    for about in keys::ALL {
        let layers = Layers::new(Tier::Cluster).environment([(about.variable(), "?".to_owned())]);
        let is_read = layers.maybe(&Key {
            about: **about,
            parse: |_, text| Ok(text.to_owned()),
        });
        let is_list = about.arity == Arity::List;
        let is_cluster = about.is_for(Tier::Cluster);
        assert!(
            !is_cluster || is_list || is_read == Ok(Some("?".to_owned())),
            "{}",
            about.name
        );
        assert!(
            !is_cluster || layers.warnings().is_empty(),
            "{}",
            about.name
        );
    }
}

#[test]
fn flags_go_before_the_environment_before_the_file_before_the_default() {
    let file = "http_address: [127.0.0.1:1, 127.0.0.1:2]\ndrain_timeout: 1s\nlog_level: null\n";
    let with = |arguments: &[&str], variables: &[(&str, &str)], file| {
        let (_, common) = start(arguments, variables, file).unwrap();
        let addresses: Vec<_> = common
            .data_plane
            .http_addresses
            .iter()
            .map(ToString::to_string)
            .collect();
        format!(
            "{} {:?} {}",
            addresses.join(" "),
            common.drain_timeout,
            common.log_level
        )
    };
    let variables = [
        ("TIERGATE_HTTP_ADDRESS", "127.0.0.1:3, 127.0.0.1:4"),
        ("TIERGATE_DRAIN_TIMEOUT", "2s"),
    ];
    assert_eq!(with(&[], &[], None), "0.0.0.0:8080 20s info");
    assert_eq!(with(&[], &[], Some("")), "0.0.0.0:8080 20s info");
    assert_eq!(
        with(&[], &[], Some(file)),
        "127.0.0.1:1 127.0.0.1:2 1s info"
    );
    assert_eq!(
        with(&[], &variables, Some(file)),
        "127.0.0.1:3 127.0.0.1:4 2s info"
    );
    assert_eq!(
        with(
            &[
                "--http-address",
                "127.0.0.1:5",
                "127.0.0.1:6",
                "--http-address=127.0.0.1:7"
            ],
            &variables,
            Some(file)
        ),
        "127.0.0.1:5 127.0.0.1:6 127.0.0.1:7 2s info"
    );
    assert_eq!(
        with(&["--drain-timeout", "1m30s"], &variables, Some(file)),
        "127.0.0.1:3 127.0.0.1:4 90s info"
    );
}

#[test]
fn sections_of_different_sources_are_put_together() {
    let (_, common) = start(
        &[],
        &[("TIERGATE_LIMITS__TRIES_MAX", "2")],
        Some("limits: {head_bytes_max: 64Ki, tries_max: 5}\ntimeouts: {connect: 250ms}\nvia: false\ntrusted_proxies: 10.1.2.3/8,::1\n"),
    )
    .unwrap();
    assert_eq!(
        common.data_plane.limits,
        Limits {
            head_bytes_max: 65_536,
            tries_max: 2,
            ..Limits::default()
        }
    );
    assert_eq!(
        common.data_plane.timeouts,
        Timeouts {
            connect: Duration::from_millis(250),
            ..Timeouts::default()
        }
    );
    assert_eq!(
        common.data_plane.trusted_proxies,
        ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]
    );
    assert!(!common.data_plane.via);
}

#[test]
fn the_defaults_are_those_of_the_data_plane() {
    let common = Common::from_layers(&Layers::new(Tier::Namespace)).unwrap();
    assert_eq!(common.data_plane.limits, Limits::default());
    assert_eq!(common.data_plane.timeouts, Timeouts::default());
    assert_eq!(common.ingress_classes, ["tiergate"]);
    assert_eq!(
        Common::from_layers(&Layers::new(Tier::Cluster))
            .unwrap()
            .ingress_classes,
        ["tiergate-cluster"]
    );
    assert!(common.worker_threads >= 1);
}

#[test]
fn a_switch_needs_no_value_and_port_zero_may_stand_twice() {
    let arguments = [
        "--watch-ingress-without-class",
        "--http-address",
        "127.0.0.1:0",
        "--https-address",
        "127.0.0.1:0",
    ];
    let (_, common) = start(&arguments, &[], None).unwrap();
    assert!(common.watch_ingress_without_class);
}

#[test]
fn every_default_and_every_example_fits() {
    for about in keys::ALL.iter().filter(|about| about.place != Place::Flag) {
        let tier = if about.is_for(Tier::Cluster) {
            Tier::Cluster
        } else {
            Tier::Namespace
        };
        let layers = Layers::new(tier).flags([(*about, vec![about.example.to_owned()])]);
        if let Err(error) = Common::from_layers(&layers) {
            // These three have nothing to show yet.
            assert!(error.to_string().contains("not available"), "{error}");
        }
    }
}

#[test]
fn help_shows_every_flag() {
    for tier in [Tier::Cluster, Tier::Namespace] {
        let mut command = flags::command(tier, "0.1.0").max_term_width(100);
        expect_file![format!("../../testdata/help/{}.txt", tier.program())]
            .assert_eq(&command.render_help().to_string());
        for name in ["explain", "probe"] {
            let page = format!("../../testdata/help/{}-{name}.txt", tier.program());
            let subcommand = command.find_subcommand_mut(name).unwrap();
            expect_file![page].assert_eq(&subcommand.render_help().to_string());
        }
    }
}

#[test]
fn the_reference_page_is_what_the_code_says() {
    expect_file!["../../../docs/configuration.md"].assert_eq(&page::configuration());
}
