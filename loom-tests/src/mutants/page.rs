//! The table in the documentation.

use std::fmt::Write;
use std::path::PathBuf;

use super::{MUTANTS, Rung};

const TITLE: &str = "\
The injected bugs, and the check that goes red for each: written by running them.

Each is a place in the source that is right, and that a model can make wrong by its name:
`KILLICK_MUTATION=walk_adopts_the_dead cargo loom walker_never_gets_a_pruned_node`. `cargo loom` runs a model of a race through
every interleaving, `cargo loom-epoch` the same with the real collector below, `cargo shuttle` random histories. A bug that
survives fails the build, and so does a row that is missing here.

| mutation | what it breaks | rung | caught by | which says |
|---|---|---|---|---|
";

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../src/docs/mutations.md")
}

/// The page, with a message for each mutation and rung.
fn page(message: impl Fn(&str, Rung) -> Option<String>) -> String {
    let mut page = TITLE.to_string();
    for mutant in MUTANTS {
        for &(rung, check) in mutant.caught_by {
            let said = message(mutant.name, rung).unwrap_or_default().replace('|', "\\|");
            let (name, breaks, alias) = (mutant.name, mutant.breaks, rung.alias());
            writeln!(page, "| `{name}` | {breaks} | `{alias}` | `{check}` | `` {said} `` |")
                .expect("a string grows");
        }
    }
    page
}

/// What `page` says about a mutation on a rung.
fn message_in(page: &str, mutant: &str, rung: Rung) -> Option<String> {
    let (name, alias) = (format!("| `{mutant}` |"), format!("| `{}` |", rung.alias()));
    let row = page.lines().find(|row| row.starts_with(&name) && row.contains(&alias))?;
    let (_, said) = row.strip_suffix(" `` |")?.rsplit_once("` | `` ")?;
    Some(said.replace("\\|", "|"))
}

/// Writes the rows of one rung, and keeps the messages of the others.
pub(super) fn update(rung: Rung, messages: &[(&str, String)]) {
    let before = std::fs::read_to_string(path()).unwrap_or_default();
    let now = page(|mutant, its| {
        if its != rung {
            return message_in(&before, mutant, its);
        }
        messages.iter().find(|(name, _)| *name == mutant).map(|(_, message)| message.clone())
    });
    std::fs::write(path(), now).expect("the page can be written");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_page_has_the_rows_of_the_list() {
        let checked_in = fs::read_to_string(path()).unwrap();
        // Messages may differ from one machine to the next: those are taken as they are.
        let expected = page(|mutant, rung| message_in(&checked_in, mutant, rung));
        // Not `assert_eq`: nobody wants to read both pages.
        assert!(
            checked_in == expected,
            "src/docs/mutations.md is out of date: KILLICK_REGENERATE=1 cargo … mutants"
        );
    }

    #[test]
    fn every_row_says_what_the_check_failed_with() {
        let checked_in = fs::read_to_string(path()).unwrap();
        for mutant in MUTANTS {
            assert!(!mutant.caught_by.is_empty(), "{} has no check", mutant.name);
            for &(rung, _) in mutant.caught_by {
                let said = message_in(&checked_in, mutant.name, rung).unwrap_or_default();
                let (name, alias) = (mutant.name, rung.alias());
                assert!(!said.is_empty(), "{name}: KILLICK_REGENERATE=1 {alias} mutants");
            }
        }
    }

    #[test]
    fn every_injected_bug_has_a_row() {
        let listed: BTreeSet<_> = MUTANTS.iter().map(|mutant| mutant.name.to_string()).collect();
        let mut injected = BTreeSet::new();
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../src"), &mut injected);
        assert_eq!(injected, listed, "bugs in the source (left), rows of the list (right)");
    }

    /// The names that the source below `dir` gives to `mutated`, `weakened` and `weakened_to`.
    fn collect(dir: &Path, names: &mut BTreeSet<String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, names);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = fs::read_to_string(path).unwrap();
                for call in ["mutated(", "weakened(", "weakened_to("] {
                    for after in source.split(call).skip(1) {
                        if let Some(name) = after.trim_start().strip_prefix('"') {
                            names.extend(name.split('"').next().map(String::from));
                        }
                    }
                }
            }
        }
    }
}
