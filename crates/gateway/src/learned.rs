//! The addresses that allowed names resolved to, for as long as they may be used.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::counters::lock;
use crate::dns_answer::Answer;
use crate::names::NamePattern;

/// Addresses that are remembered.
const MAX_ADDRESSES: usize = 4096;
/// Programs keep answers longer than they should: an address stays good for this long.
const MIN_LIFE: Duration = Duration::from_secs(600);
/// And no longer than this, whatever the answer says.
const MAX_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Addresses of allowed names.
#[derive(Debug)]
pub(crate) struct Learned {
    patterns: Vec<NamePattern>,
    until: Mutex<HashMap<IpAddr, Instant>>,
}

impl Learned {
    pub(crate) fn new(patterns: Vec<NamePattern>) -> Self {
        Self { patterns, until: Mutex::default() }
    }

    /// Takes note of an answer, if its name is allowed.
    pub(crate) fn learn(&self, answer: &Answer, now: Instant) {
        if !self.patterns.iter().any(|pattern| pattern.covers(&answer.name)) {
            return;
        }
        let mut until = lock(&self.until);
        for (ip, ttl) in &answer.addresses {
            let life = Duration::from_secs(u64::from(*ttl)).clamp(MIN_LIFE, MAX_LIFE);
            if until.len() >= MAX_ADDRESSES && !until.contains_key(ip) {
                until.retain(|_, end| *end > now);
                let soonest = until.iter().min_by_key(|(_, end)| **end).map(|(ip, _)| *ip);
                if until.len() >= MAX_ADDRESSES
                    && let Some(soonest) = soonest
                {
                    until.remove(&soonest);
                }
            }
            let end = until.entry(*ip).or_insert(now + life);
            *end = (*end).max(now + life);
        }
    }

    /// Whether an allowed name resolved to `ip` not too long ago.
    pub(crate) fn contains(&self, ip: IpAddr, now: Instant) -> bool {
        lock(&self.until).get(&ip).is_some_and(|end| *end > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn answer(name: &str, first: u32, count: u32) -> Answer {
        Answer {
            name: name.to_owned(),
            addresses: (first..first + count).map(|n| (Ipv4Addr::from(n).into(), 30)).collect(),
        }
    }

    #[test]
    fn only_allowed_names_teach_and_only_for_a_while() {
        let learned = Learned::new(vec![NamePattern::parse("example.org").unwrap()]);
        let now = Instant::now();
        learned.learn(&answer("example.org", 1, 1), now);
        learned.learn(&answer("evil.example", 2, 1), now);
        let one = Ipv4Addr::from(1).into();
        assert!(learned.contains(one, now));
        assert!(!learned.contains(Ipv4Addr::from(2).into(), now));
        assert!(!learned.contains(one, now + MIN_LIFE));
    }

    #[test]
    fn memory_is_bounded() {
        let learned = Learned::new(vec![NamePattern::parse("*.example.org").unwrap()]);
        let now = Instant::now();
        for n in 0..40 {
            let later = now + Duration::from_secs(u64::from(n));
            learned.learn(&answer("a.example.org", n * 1000, 1000), later);
        }
        assert_eq!(lock(&learned.until).len(), MAX_ADDRESSES);
        assert!(learned.contains(Ipv4Addr::from(39_999).into(), now));
    }
}
