//! What goes wrong in a run, and when: as its seed says.

use std::time::Duration;

use crate::dice::Dice;
use crate::record::Time;

/// How long clients work, and things go wrong.
pub(crate) const WORK: Time = Duration::from_secs(6);

/// What befalls a client for a time. All is well again at its end, but for what was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What is sent in either direction is lost.
    Partition,
    /// What is sent to the client is lost.
    Deaf,
    /// What the client sends is lost.
    Mute,
    /// What is sent in either direction waits.
    Held,
    /// The client does not read.
    Slow,
    /// The client dies, its system closes its connections, and it starts again at the end.
    Killed,
    /// The client dies, and nobody is told of it.
    PowerLoss,
}

/// What happens at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Begins(usize, Fault),
    Ends(usize, Fault),
    /// The server dies.
    ServerKilled,
    /// The server is told to stop.
    ServerStops,
    /// The server starts again.
    ServerStarts,
}

/// How a run is set up, and what happens in it.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) clients: usize,
    /// The longest that a message takes, in milliseconds.
    pub(crate) latency: u64,
    pub(crate) random_order: bool,
    /// How many writes the network takes before the other side reads.
    pub(crate) capacity: usize,
    /// The most bytes of a write.
    pub(crate) segment: usize,
    pub(crate) events: Vec<(Time, Event)>,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed, "plan");
        let clients = 2 + usize::try_from(dice.below(3)).expect("a few");
        let mut plan = Plan {
            clients,
            latency: *dice.pick(&[2, 5, 20, 40]),
            random_order: dice.percent(50),
            capacity: *dice.pick(&[8, 64]),
            segment: *dice.pick(&[200, 1400, 1 << 16]),
            events: Vec::new(),
        };
        // Some runs without: what should work, does.
        if dice.percent(90) {
            // One client may be spared, to see what becomes of the others.
            for client in usize::from(dice.percent(60))..clients {
                plan.client_faults(&mut dice, client);
            }
        }
        if dice.percent(40) {
            let event = *dice.pick(&[Event::ServerKilled, Event::ServerStops]);
            let time = dice.millis(1000, 4500);
            plan.events.push((time, event));
            plan.events.push((time + dice.millis(50, 1000), Event::ServerStarts));
        }
        plan.events.sort_by_key(|&(time, _)| time);
        plan
    }

    fn client_faults(&mut self, dice: &mut Dice, client: usize) {
        use Fault::{Deaf, Held, Killed, Mute, Partition, PowerLoss, Slow};
        let mut time = dice.millis(300, 3000);
        while time < WORK {
            let all = [Partition, Deaf, Mute, Held, Slow, Slow, Killed, Killed, PowerLoss];
            let fault = *dice.pick(&all);
            let end = (time + dice.millis(20, 2000)).min(WORK);
            self.events.push((time, Event::Begins(client, fault)));
            self.events.push((end, Event::Ends(client, fault)));
            time = end + dice.millis(200, 3000);
        }
    }
}
