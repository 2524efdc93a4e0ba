"""Pure: the Kubernetes objects that our tiers are configured by. In: names and numbers. Out: objects as dictionaries."""
import base64

CONTROLLER = "tiergate.dev/ingress"
CLUSTER_CLASS, NAMESPACE_CLASS = "tiergate-cluster", "tiergate"
CERTIFICATE = "certificate"
SSL_REDIRECT = "nginx.ingress.kubernetes.io/ssl-redirect"
LINK_PROTOCOL = "kubernetes.io/h2c"


def named(kind, version, name, namespace=None, **more):
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **more}


def namespace(name):
    return named("Namespace", "v1", name)


def ingress_class(name):
    return named("IngressClass", "networking.k8s.io/v1", name, spec={"controller": CONTROLLER})


def secret(name, namespace, certificate):
    data = {"tls.crt": certificate.certificate, "tls.key": certificate.key}
    encoded = {key: base64.b64encode(path.read_bytes()).decode() for key, path in data.items()}
    return named("Secret", "v1", name, namespace, type="kubernetes.io/tls", data=encoded)


def port(number, protocol=None):
    return {"name": "http", "port": number, **({"appProtocol": protocol} if protocol else {})}


def service(name, namespace, protocol=None):
    """Without a selector: its endpoints are written by us."""
    return named("Service", "v1", name, namespace, spec={"ports": [port(80, protocol)]})


def endpoint_slice(name, namespace, address, number, protocol=None):
    """The one endpoint of a Service of the same name."""
    one = named("EndpointSlice", "discovery.k8s.io/v1", name, namespace, addressType="IPv4",
                endpoints=[{"addresses": [address], "conditions": {"ready": True}}], ports=[port(number, protocol)])
    one["metadata"]["labels"] = {"kubernetes.io/service-name": name}
    return one


def ingress(name, namespace, class_name, hosts, service, tls=None):
    """All of its hosts, whole, to one Service. Those with a certificate are served by plain HTTP too, as the peers serve them."""
    backend = {"service": {"name": service, "port": {"number": 80}}}
    paths = {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}
    spec = {"ingressClassName": class_name, "rules": [{"host": host, "http": paths} for host in hosts]}
    one = named("Ingress", "networking.k8s.io/v1", name, namespace, spec=spec)
    if tls:
        spec["tls"] = [{"hosts": list(hosts), "secretName": tls}]
        one["metadata"]["annotations"] = {SSL_REDIRECT: "false"}
    return one
