//! What each step of the path makes of a page on this processor.
//! `cargo xtask bench --only cpu` runs it and shows it beside the rest.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dormouse_handoff::checksum::Seed;
use dormouse_transfer::memory::{PageBytes, is_zero};
use std::hint::black_box;

/// More pages than the caches hold, as in the writer.
const PAGES: usize = 32 << 10;

fn pages(fill: impl Fn(usize) -> u8) -> Vec<PageBytes> {
    (0..PAGES).map(|page| [fill(page); 4096]).collect()
}

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("page");
    group.throughput(Throughput::Bytes(4096));
    let (zero, data) = (pages(|_| 0), pages(|page| page as u8 | 1));
    let mut order = (0..PAGES).cycle();
    let mut next = || order.next().unwrap_or(0);
    group.bench_function("zero test of zeros", |bench| {
        bench.iter(|| is_zero(black_box(&zero[next()])));
    });
    group.bench_function("zero test of data", |bench| {
        bench.iter(|| is_zero(black_box(&data[next()])));
    });
    let mut pages = Seed::of(&[7; 16]).pages();
    group.bench_function("checksum", |bench| {
        bench.iter(|| pages.push(black_box(&data[next()])));
    });
    group.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);
