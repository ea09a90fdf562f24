//! Random folders, edited at random: every snapshot restores to what the folder was.

use proptest::prelude::*;
use ringfence_vault::SnapshotKind;

use crate::edits::{carry_out, edit};
use crate::lab::{Lab, assert_same};

fn cases() -> u32 {
    if std::env::var_os("RINGFENCE_SOAK").is_some() { 300 } else { 12 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_snapshot_restores_to_what_the_folder_was(
        rounds in prop::collection::vec(prop::collection::vec(edit(), 1..25), 2..5),
        back in any::<prop::sample::Index>(),
    ) {
        let lab = Lab::new();
        let mut states = Vec::new();
        for (n, edits) in rounds.iter().enumerate() {
            for edit in edits {
                let _ = carry_out(&lab.folder, edit);
            }
            let reference = lab.reference(&format!("reference{n}"));
            states.push((lab.snapshot(SnapshotKind::Periodic), reference));
        }
        // In place, to one of them, chosen at random.
        let (state, reference) = back.get(&states);
        let report = lab.restore(state);
        prop_assert_eq!(report.kept_conflicts, []);
        assert_same(reference, &lab.folder);
        // And each of them into a new directory.
        for (n, (state, reference)) in states.iter().enumerate() {
            assert_same(reference, &lab.restore_elsewhere(state, &format!("restored{n}")));
        }
        lab.assert_whole();
    }
}
