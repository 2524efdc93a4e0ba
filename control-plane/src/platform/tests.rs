use super::*;

use rand::Rng as _;

#[test]
fn each_part_of_a_process_has_randomness_of_its_own() {
    let draw = |seed, name| derive_rng(seed, name).random::<u64>();
    assert_eq!(draw(1, "watch"), draw(1, "watch"));
    assert_ne!(draw(1, "watch"), draw(2, "watch"));
    assert_ne!(draw(1, "watch"), draw(1, "worker"));
}
