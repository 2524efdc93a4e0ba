//! What the API server itself does to pods: binding to a node, and eviction within budgets.
//!
//! In: a Binding or an Eviction. Out: a changed or deleted pod, and budgets that are counted down.

use std::sync::Arc;

use serde_json::{Value, json};

use super::call::{Answer, Call};
use super::deletion::{self, Options};
use super::resources::Resource;
use super::selector::Selector;
use super::state::{Shared, State, text};
use super::status::Failure;
use super::store::{self, Stored};
use super::{body, metadata};

const BUDGETS: &str = "poddisruptionbudgets.policy";

/// Evictions of one budget that may be under way at once.
const DISRUPTED_PODS_MAX: usize = 2000;

fn created() -> Answer {
    Answer::value(
        201,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
    )
}

fn pods(state: &State) -> Result<Arc<Resource>, Failure> {
    state
        .registry
        .get("", "v1", "pods")
        .ok_or_else(Failure::no_resource)
}

/// POST on `pods/NAME/binding` and on the old collection `bindings`.
pub(crate) fn bind(shared: &Shared, call: &Call) -> Result<Answer, Failure> {
    let binding = body::value(call)?;
    let mut state = shared.state();
    let resource = pods(&state)?;
    let sent = metadata::name_of(&binding);
    let name = if call.name().is_empty() {
        sent
    } else {
        call.name()
    };
    if name != sent {
        return Err(Failure::bad_request(
            "name in URL does not match name in Binding object",
        ));
    }
    let node = text(&binding, "/target/name");
    if node.is_empty() {
        return Err(Failure::plain_internal("target.name: Required value"));
    }
    let key = store::key(call.namespace(), name);
    let current = state
        .store
        .get("pods", &key)
        .ok_or_else(|| Failure::not_found(&resource, name))?;
    let (uid, known) = (
        text(&binding, "/metadata/uid"),
        text(&current.value, "/metadata/uid"),
    );
    if !uid.is_empty() && uid != known {
        return Err(metadata::other_uid(
            &resource,
            call.namespace(),
            name,
            uid,
            known,
        ));
    }
    let why = match text(&current.value, "/spec/nodeName") {
        _ if metadata::is_being_deleted(&current.value) => {
            format!("pod {name} is being deleted, cannot be assigned to a host")
        }
        "" => String::new(),
        taken => format!("pod {name} is already assigned to node {taken:?}"),
    };
    if !why.is_empty() {
        return Err(Failure::conflict_on("pods/binding", name, &why));
    }
    let mut pod = current.value.clone();
    pod["spec"]["nodeName"] = json!(node);
    if let Some(annotations) = binding["metadata"]["annotations"].as_object() {
        for (key, value) in annotations {
            pod["metadata"]["annotations"][key] = value.clone();
        }
    }
    let now = shared.clock.seconds();
    set_condition(
        &mut pod,
        json!({
            "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now,
        }),
    );
    if !call.query.is_dry_run() {
        state.store.put("pods", &key, pod);
    }
    Ok(created())
}

fn set_condition(object: &mut Value, condition: Value) {
    let mut conditions = object["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    match conditions
        .iter_mut()
        .find(|one| one["type"] == condition["type"])
    {
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
    object["status"]["conditions"] = json!(conditions);
}

/// POST on `pods/NAME/eviction`.
pub(crate) fn evict(shared: &Shared, call: &Call) -> Result<Answer, Failure> {
    let eviction = body::value(call)?;
    let mut options = Options::read(&eviction["deleteOptions"]);
    options.is_dry_run |= call.query.is_dry_run();
    let mut state = shared.state();
    let resource = pods(&state)?;
    let key = store::key(call.namespace(), call.name());
    let pod = state
        .store
        .get("pods", &key)
        .ok_or_else(|| Failure::not_found(&resource, call.name()))?;
    let sent = metadata::name_of(&eviction);
    if !sent.is_empty() && sent != call.name() {
        return Err(Failure::bad_request(format!(
            "name in URL does not match name in Eviction object: {sent:?}"
        )));
    }
    let is_free = matches!(
        text(&pod.value, "/status/phase"),
        "Succeeded" | "Failed" | "Pending"
    ) || metadata::is_being_deleted(&pod.value);
    if !is_free {
        let budgets = budgets_of(&state, call, &resource, &pod.value);
        if budgets.len() > 1 {
            return Err(Failure::plain_internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
        if let Some((key, budget)) = budgets.first()
            && !goes_uncounted(&budget.value, &pod.value)
        {
            spend(
                shared,
                &mut state,
                key,
                budget,
                &pod.value,
                options.is_dry_run,
            )?;
        }
    }
    let mut current = pod;
    if !options.is_dry_run {
        let mut marked = current.value.clone();
        set_condition(
            &mut marked,
            json!({
                "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting", "lastProbeTime": null, "lastTransitionTime": shared.clock.seconds(),
            }),
        );
        current = state.store.put("pods", &key, marked);
    }
    deletion::delete_object(
        shared,
        &mut state,
        &resource,
        call.namespace(),
        &current,
        &options,
    )?;
    Ok(created())
}

fn budgets_of(
    state: &State,
    call: &Call,
    pods: &Resource,
    pod: &Value,
) -> Vec<(String, Arc<Stored>)> {
    let prefix = store::prefix(call.namespace());
    let Some(collection) = state.store.collection(BUDGETS) else {
        return Vec::new();
    };
    collection
        .range(&prefix)
        .filter(|(_, budget)| {
            let selector = &budget.value["spec"]["selector"];
            let text = super::scale::selector_text(selector);
            selector.is_object()
                && Selector::parse(pods, &text, "").is_ok_and(|selector| selector.matches(pod))
        })
        .map(|(key, budget)| (key.clone(), budget.clone()))
        .collect()
}

/// Whether an unhealthy pod goes without being counted: always when the budget says so, else while enough others are
/// healthy.
fn goes_uncounted(budget: &Value, pod: &Value) -> bool {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    if conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True") {
        return false;
    }
    let number = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
        || number("desiredHealthy") > 0 && number("currentHealthy") >= number("desiredHealthy")
}

/// Why a budget with nothing left has nothing left.
fn refusal(name: &str, status: &Value) -> String {
    let number = |field: &str| status[field].as_i64().unwrap_or(0);
    let (healthy, desired) = (number("currentHealthy"), number("desiredHealthy"));
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    let condition = conditions.find(|condition| condition["type"] == "DisruptionAllowed");
    let told = condition
        .filter(|condition| condition["status"] == "False")
        .map(|condition| (text(condition, "/reason"), text(condition, "/message")))
        .filter(|(_, message)| !message.is_empty());
    let begin = format!("The disruption budget {name} does not allow evicting pods currently");
    match told {
        Some(("SyncFailed", message)) => format!("{begin} because it failed sync: {message}"),
        _ if healthy <= desired => {
            format!(
                "The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
            )
        }
        Some((reason, message)) => format!("{begin} ({reason}): {message}"),
        None => begin,
    }
}

/// Takes one eviction out of a budget, or refuses.
fn spend(
    shared: &Shared,
    state: &mut State,
    key: &str,
    budget: &Stored,
    pod: &Value,
    is_dry_run: bool,
) -> Result<(), Failure> {
    const REFUSAL: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
    let name = metadata::name_of(&budget.value);
    let status = &budget.value["status"];
    let observed = status["observedGeneration"].as_i64().unwrap_or(0);
    if observed < budget.value["metadata"]["generation"].as_i64().unwrap_or(0) {
        let cause = format!("The disruption budget {name} is still being processed by the server.");
        return Err(Failure::disruption(REFUSAL, &cause).retry_after(10));
    }
    let allowed = status["disruptionsAllowed"].as_i64().unwrap_or(0);
    let disrupted = status["disruptedPods"].as_object();
    let why = match (allowed, disrupted.map_or(0, serde_json::Map::len)) {
        (..0, _) => "pdb disruptions allowed is negative",
        (_, granted) if granted > DISRUPTED_PODS_MAX => {
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        }
        _ => "",
    };
    if !why.is_empty() {
        let budgets = state.registry.get("policy", "v1", "poddisruptionbudgets");
        let budgets = budgets.ok_or_else(Failure::no_resource)?;
        return Err(Failure::forbidden(&budgets, name, why));
    }
    if allowed == 0 {
        return Err(Failure::disruption(REFUSAL, &refusal(name, status)));
    }
    if is_dry_run {
        return Ok(());
    }
    let mut changed = budget.value.clone();
    let now = shared.clock.seconds();
    changed["status"]["disruptionsAllowed"] = json!(allowed - 1);
    changed["status"]["disruptedPods"][metadata::name_of(pod)] = json!(now);
    if allowed == 1 {
        set_condition(
            &mut changed,
            json!({
                "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
                "observedGeneration": observed, "lastTransitionTime": now,
            }),
        );
    }
    state.store.put(BUDGETS, key, changed);
    Ok(())
}
