//! What nodes do at an API server, and whether the user of the kubeconfig may do it.

use futures::future::try_join_all;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::PostParams;

use super::error::AttachError;
use super::settings::Settings;

/// Verbs, API group, resource with its subresource.
type Right = (&'static [&'static str], &'static str, &'static str);

/// What the service proxy does, and what gives addresses to load balancers.
const PROXY_RIGHTS: [Right; 2] = [
    (&["list", "watch"], "discovery.k8s.io", "endpointslices"),
    (&["create", "patch"], "", "events"),
];
const POOL_RIGHTS: [Right; 1] = [(&["patch"], "", "services/status")];

/// What nodes do.
const RIGHTS: [Right; 12] = [
    (&["list", "get", "create", "delete"], "", "nodes"),
    (&["patch"], "", "nodes/status"),
    (&["list", "watch", "get", "delete"], "", "pods"),
    (&["patch"], "", "pods/status"),
    (&["list", "watch"], "", "services"),
    (&["get"], "", "configmaps"),
    (&["get"], "", "secrets"),
    (&["get"], "", "serviceaccounts"),
    (&["create"], "", "serviceaccounts/token"),
    (&["create", "patch"], "events.k8s.io", "events"),
    (
        &["get", "create", "update", "delete"],
        "coordination.k8s.io",
        "leases",
    ),
    (&["create"], "discovery.k8s.io", "endpointslices"),
];

/// Asks for each right. The error of a right that is missing, or of a question that failed.
pub(super) async fn check(
    client: &kube::Client,
    settings: &Settings,
) -> Result<(), Result<AttachError, kube::Error>> {
    let mut rights = RIGHTS.to_vec();
    if settings.has_service_proxy {
        rights.extend(PROXY_RIGHTS);
    }
    if settings.load_balancer_pool.is_some() {
        rights.extend(POOL_RIGHTS);
    }
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let questions = rights.iter().flat_map(|(verbs, group, resource)| {
        let ask = |verb: &'static str| ask(&reviews, verb, group, resource);
        verbs.iter().copied().map(ask).collect::<Vec<_>>()
    });
    let answers = try_join_all(questions).await.map_err(Err)?;
    let missing: Vec<String> = answers.into_iter().flatten().collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Ok(AttachError::Forbidden(missing)))
    }
}

/// None: the user may.
async fn ask(
    reviews: &Api<SelfSubjectAccessReview>,
    verb: &str,
    group: &str,
    resource: &str,
) -> Result<Option<String>, kube::Error> {
    let (name, subresource) = match resource.split_once('/') {
        Some((name, subresource)) => (name, Some(subresource.to_owned())),
        None => (resource, None),
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                verb: Some(verb.to_owned()),
                group: Some(group.to_owned()),
                resource: Some(name.to_owned()),
                subresource,
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let title = format!("{verb} {resource}");
    match reviews.create(&PostParams::default(), &review).await {
        Ok(answer) => {
            let is_allowed = answer.status.is_some_and(|status| status.allowed);
            Ok((!is_allowed).then_some(title))
        }
        // Not even to ask is allowed: an anonymous user.
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(Some(title)),
        Err(error) => Err(error),
    }
}
