//! Names and addresses, good and bad, as tables.

use super::*;

fn parse(text: &str) -> Result<String, String> {
    let name = ExternalName::parse(text, "shop");
    name.map(|name| name.to_string())
        .map_err(|error| error.to_string())
}

#[test]
fn a_name_is_whole_and_not_of_another_namespace() {
    for (text, name) in [
        ("db.example.com", "db.example.com"),
        ("DB.Example.com.", "db.example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("web.shop.svc.cluster.local", "web.shop.svc.cluster.local"),
        ("pod-0.web.shop.svc.k8s.corp", "pod-0.web.shop.svc.k8s.corp"),
        ("svc.example.com", "svc.example.com"),
    ] {
        assert_eq!(parse(text).as_deref(), Ok(name), "{text}");
    }
    for (text, trouble) in [
        ("", "\"\" is no DNS name"),
        ("a..b", "\"a..b\" is no DNS name"),
        ("-a.b", "\"-a.b\" is no DNS name"),
        ("a b.c", "\"a b.c\" is no DNS name"),
        ("http://a.b", "\"http://a.b\" is no DNS name"),
        ("[::1]", "\"[::1]\" is no DNS name"),
        (
            "db",
            "db has one label: a name must be whole, such as db.example.com",
        ),
        ("127.0.0.1", "127.0.0.1 is an address and no name"),
        ("127.1", "127.1 is an address and no name"),
        ("2130706433", "2130706433 is an address and no name"),
        ("localhost", "localhost is a name of this host itself"),
        ("LOCALHOST.", "localhost is a name of this host itself"),
        ("a.localhost", "a.localhost is a name of this host itself"),
        (
            "localhost.localdomain",
            "localhost.localdomain is a name of this host itself",
        ),
    ] {
        assert_eq!(parse(text), Err(trouble.to_owned()), "{text}");
    }
    for text in [
        "web.other.svc.cluster.local",
        "web.other.svc",
        "WEB.OTHER.SVC.CLUSTER.LOCAL.",
        "pod-0.web.other.svc.k8s.corp",
        // The namespace stands before `svc`, not somewhere.
        "shop.other.svc.cluster.local",
        "web.shop.svc.other.svc.cluster.local",
        "shop.svc.cluster.local",
        "10-1-2-3.shop.pod.cluster.local",
        "kubernetes.default.svc.cluster.local",
        "cluster.local",
    ] {
        let error = ExternalName::parse(text, "shop").unwrap_err();
        let is_other = matches!(error, InvalidExternalName::OtherNamespace(_, _));
        assert!(is_other, "{text}: {error}");
    }
    let long = format!("{}.example", "a.".repeat(125));
    assert!(ExternalName::parse(&long, "shop").is_err());
    assert!(ExternalName::parse(&format!("{}.b", "a".repeat(64)), "shop").is_err());
}

#[test]
fn an_alias_may_have_an_underscore_and_is_judged_as_a_name() {
    assert_eq!(ExternalName::follows("_lb.example.com.", "shop"), Ok(()));
    assert!(ExternalName::follows("web.other.svc.cluster.local.", "shop").is_err());
    assert!(ExternalName::follows("localhost.", "shop").is_err());
}

#[test]
fn no_name_leads_to_what_is_not_another_host() {
    let all: [IpNet; 2] = ["0.0.0.0/0", "::/0"].map(|network| network.parse().unwrap());
    for text in [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.0.1",
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0.0.0.0",
        "64:ff9b::127.0.0.1",
        "64:ff9b::169.254.169.254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "2002:7f00:1::1",
        "2001:0:7f00:1::",
        "fd00:ec2::254",
        "fd20:ce::254",
    ] {
        let address: IpAddr = text.parse().unwrap();
        let judged = judge(address, &all);
        let is_never = matches!(judged, Err(RefusedAddress::Never(_, _)));
        assert!(is_never, "{text}: {judged:?}");
    }
}

#[test]
fn private_addresses_need_a_network_that_the_operator_names() {
    let networks = [
        "10.20.0.0/16".parse::<IpNet>().unwrap(),
        "fd00:20::/32".parse().unwrap(),
    ];
    for text in [
        "93.184.215.14",
        "2606:2800:21f::1",
        "64:ff9b::93.184.215.14",
    ] {
        let address: IpAddr = text.parse().unwrap();
        assert_eq!(judge(address, &[]), Ok(address), "{text}");
    }
    for text in ["10.20.3.4", "fd00:20::5", "64:ff9b::10.20.3.4"] {
        let address: IpAddr = text.parse().unwrap();
        assert_eq!(judge(address, &networks), Ok(address), "{text}");
        assert!(judge(address, &[]).is_err(), "{text}");
    }
    for text in [
        "10.21.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "::ffff:10.21.0.1",
        "64:ff9b::10.21.0.1",
        "64:ff9b:1::1",
        "fd00::1",
        "2001:db8::1",
        "4000::1",
    ] {
        let address: IpAddr = text.parse().unwrap();
        let judged = judge(address, &networks);
        let is_private = matches!(judged, Err(RefusedAddress::NotPublic(_)));
        assert!(is_private, "{text}: {judged:?}");
    }
    // An address of IPv4 in the form of IPv6 is connected to as what it is.
    let mapped = "::ffff:10.20.3.4".parse().unwrap();
    assert_eq!(judge(mapped, &networks), Ok("10.20.3.4".parse().unwrap()));
}

#[test]
fn every_network_of_the_lists_is_one() {
    assert_eq!((NEVER.len(), NOT_PUBLIC.len()), (16, 13));
}
