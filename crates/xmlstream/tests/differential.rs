//! Runs the oracle over the corpus, whole and at every cut, and over a bounded number of mutations of it.

mod oracle;

use oracle::{Said, compare, corpus, fuzz, run};

/// Mutated inputs in an ordinary test run; by hand: the example `fuzz`.
const SMOKE_CASES: u64 = 200_000;

#[test]
fn the_corpus_at_every_cut() {
    let mut accepted = 0;
    for (name, input) in corpus() {
        let every_byte: Vec<usize> = (0..input.len()).collect();
        accepted += compare(&input, &every_byte).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        let whole = run(&input, [], &oracle::LIMITS, |_, _| {});
        for cut in 0..=input.len() {
            assert_eq!(
                run(&input, [cut], &oracle::LIMITS, |_, _| {}),
                whole,
                "{name} cut at {cut}"
            );
        }
        let last = whole.last();
        let refused = matches!(last, Some(Said::Error(_)));
        assert_eq!(refused, name.starts_with("bad-"), "{name}: {last:?}");
    }
    assert!(accepted > 50, "only {accepted} elements of the corpus were accepted");
}

#[test]
fn mutations_of_the_corpus() {
    let seeds: Vec<Vec<u8>> = corpus().into_iter().map(|(_, bytes)| bytes).collect();
    match fuzz(&seeds, 1, |n| n < SMOKE_CASES) {
        Ok(tally) => assert!(
            tally.accepted > SMOKE_CASES / 10,
            "only {} cases had an element",
            tally.accepted
        ),
        Err((input, problem)) => panic!("{problem}\ninput: {}", input.escape_ascii()),
    }
}
