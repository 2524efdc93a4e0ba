//! How work grows with what there is, by the counts in `tests/bench/instructions.json`.

use tiergate_tests::repository;

/// How the work of tables grows, as it was counted (`tests/bench/instructions` holds the code to the counts).
#[test]
fn tables_cost_as_much_more_as_there_are_more_hosts_and_a_change_costs_what_it_changes() {
    let table = repository::root().join("tests/bench/instructions.json");
    let table = std::fs::read_to_string(table).expect("the table is there");
    let counted: serde_json::Value = serde_json::from_str(&table).expect("JSON");
    let of = |case: &str| {
        let count = &counted["cases"][case]["instructions"];
        count
            .as_f64()
            .unwrap_or_else(|| panic!("{case} was not counted"))
    };
    let build = |hosts: usize| of(&format!("table/build-{hosts}-hosts"));
    // Five and ten times as many hosts; maps of names add their logarithm.
    assert!(build(10_000) <= 13.0 * build(1000));
    assert!(build(50_000) <= 6.0 * build(10_000));
    let change = |hosts: usize| of(&format!("table/publish-{hosts}-hosts-one-endpoint-changed"));
    // What is shared is not looked at, but its lists are copied: a pointer for 64 hosts, three instructions for each host.
    assert!(change(50_000) <= 10.0 * change(1000));
    assert!(change(50_000) <= build(50_000) / 1000.0);
}
