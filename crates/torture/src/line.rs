//! One logical stream of a client as XEP-0198 counts it: what was sent and is not acknowledged, and how much came.

use std::collections::VecDeque;

use crate::history::OpId;

/// A stanza that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) xml: String,
    /// If it is a message of ours.
    pub(crate) op: Option<OpId>,
    /// Its effect is durable before it is acknowledged (G1), as far as we know: a message without an error. Of anything
    /// else the counter may tell, and that is not written for its sake alone.
    pub(crate) is_durable: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Which of the client's streams it is; 1 is the first.
    pub(crate) number: u32,
    /// The server counts too: it has said `<enabled/>`.
    pub(crate) is_managed: bool,
    /// To resume it with.
    pub(crate) id: Option<String>,
    /// [`World::crashes_of`](crate::world::World) its client when it began.
    pub(crate) crashes: u64,
    /// Stanzas that came, which is what `<a h/>` says.
    pub(crate) received: u32,
    sent: u32,
    acked: u32,
    /// The last of the acknowledged ones that is durable.
    durable: u32,
    durable_op: Option<OpId>,
    unacked: VecDeque<Sent>,
    /// Initial presence was sent.
    pub(crate) is_present: bool,
}

impl Line {
    pub(crate) fn new(number: u32, crashes: u64) -> Line {
        Line {
            number,
            crashes,
            ..Line::default()
        }
    }

    /// Notes a stanza that goes out, and returns its number.
    pub(crate) fn push(&mut self, sent: Sent) -> u32 {
        self.sent = self.sent.wrapping_add(1);
        self.unacked.push_back(sent);
        self.sent
    }

    pub(crate) fn open(&self) -> usize {
        self.unacked.len()
    }

    /// How many the other side has acknowledged, up to the last that is durable.
    pub(crate) fn durable(&self) -> u32 {
        self.durable
    }

    /// A message was answered with an error: it had no effect.
    pub(crate) fn failed(&mut self, op: OpId) {
        for sent in self.unacked.iter_mut().filter(|sent| sent.op == Some(op)) {
            sent.is_durable = false;
        }
    }

    /// What the other side knows after a crash. As [`Line::acknowledge`], but it may have forgotten stanzas that are not
    /// durable, though it had acknowledged them.
    pub(crate) fn acknowledge_after_crash(&mut self, h: u32) -> Result<Vec<Sent>, String> {
        if h >= self.durable && h < self.acked {
            return Ok(Vec::new());
        }
        self.acknowledge(h)
    }

    /// The other side has handled this many. Returns what that covers; an error if it cannot be.
    pub(crate) fn acknowledge(&mut self, h: u32) -> Result<Vec<Sent>, String> {
        // Counters wrap (section 4), so the distance is what counts.
        let count = h.wrapping_sub(self.acked) as usize;
        if count > self.unacked.len() {
            let op = self.durable_op.map_or("none".to_owned(), |op| op.to_string());
            return Err(format!(
                "h is {h}, {} were acknowledged before and {} were sent; the last of them that is durable is {}, {op}",
                self.acked, self.sent, self.durable
            ));
        }
        if let Some(last) = self.unacked.iter().take(count).rposition(|sent| sent.is_durable) {
            self.durable = self.acked.wrapping_add(last as u32 + 1);
            self.durable_op = self.unacked[last].op;
        }
        self.acked = h;
        Ok(self.unacked.drain(..count).collect())
    }

    /// The stream is resumed (section 5), and what was handled of it is acknowledged already. Returns the rest, which is
    /// to be pushed again; `is_wanted` is asked whether it still is.
    pub(crate) fn resume(&mut self, is_wanted: impl Fn(&Sent) -> bool) -> Vec<Sent> {
        self.sent = self.acked;
        std::mem::take(&mut self.unacked)
            .into_iter()
            .filter(is_wanted)
            .collect()
    }

    /// The stream is over. Returns what was not acknowledged.
    pub(crate) fn into_unacked(self) -> impl Iterator<Item = Sent> {
        self.unacked.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(number: usize) -> Sent {
        Sent {
            xml: number.to_string(),
            op: None,
            is_durable: number == 2,
        }
    }

    fn texts(sent: impl IntoIterator<Item = Sent>) -> String {
        sent.into_iter().map(|one| one.xml).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn acknowledged_resumed_and_ended() {
        let mut line = Line::new(1, 0);
        assert_eq!((1..=5).map(|number| line.push(sent(number))).max(), Some(5));
        assert_eq!(line.acknowledge(2).map(texts), Ok("1 2".to_owned()));
        assert_eq!(line.acknowledge(2).map(texts), Ok(String::new()));
        assert!(line.acknowledge(1).is_err(), "it went back");
        assert!(line.acknowledge(6).is_err(), "more than was sent");
        // Resumed with h 3; the fifth is not wanted any more.
        assert_eq!(line.acknowledge(3).map(texts), Ok("3".to_owned()));
        let again = line.resume(|sent| sent.xml != "5");
        assert_eq!(texts(again.clone()), "4");
        assert_eq!(line.open(), 0);
        for one in again {
            assert_eq!(line.push(one), 4);
        }
        assert_eq!(line.push(sent(6)), 5);
        assert_eq!(line.acknowledge(4).map(texts), Ok("4".to_owned()));
        assert_eq!(texts(line.into_unacked()), "6");
    }

    /// Only the second is durable: after a crash the third may be forgotten, the second not.
    #[test]
    fn after_a_crash() {
        let mut line = Line::new(1, 0);
        for number in 1..=5 {
            line.push(sent(number));
        }
        assert_eq!(line.acknowledge(3).map(texts), Ok("1 2 3".to_owned()));
        assert_eq!(line.durable(), 2);
        assert!(line.acknowledge_after_crash(1).is_err());
        assert!(line.acknowledge(2).is_err());
        assert_eq!(line.acknowledge_after_crash(2).map(texts), Ok(String::new()));
        assert_eq!(line.acknowledge_after_crash(4).map(texts), Ok("4".to_owned()));
        assert!(line.acknowledge_after_crash(6).is_err());
    }

    #[test]
    fn counters_wrap() {
        let mut line = Line {
            sent: u32::MAX,
            acked: u32::MAX,
            ..Line::default()
        };
        line.push(sent(1));
        line.push(sent(2));
        assert_eq!(line.acknowledge(0).map(texts), Ok("1".to_owned()));
        assert_eq!(line.acknowledge(1).map(texts), Ok("2".to_owned()));
    }
}
