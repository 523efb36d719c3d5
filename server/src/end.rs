//! The ends of a channel: what a client holds of it, and what a value keeps.
//!
//! | | sends | receives | closes | asks | makes |
//! |---|---|---|---|---|---|
//! | `Chan` | yes | yes | yes | yes | all |
//! | `SendCloser` | yes | | yes | | `Sender`, `Closer` |
//! | `Sender` | yes | | | | |
//! | `Recver` | | yes | | | |
//! | `Closer` | | | yes | | |
//!
//! An end is the server's own: it is kept in a value as it is, and used on any thread. While one that sends
//! is kept somewhere, the channel has a sender, and while one that receives is, a receiver.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use capnp::traits::HasTypeId;
use killick::{Authority, Charge, Denied, Resource, Revocable, Right};
use killick_schema::api::channel_capnp::{chan, closer, recver, send_closer, sender};

use crate::channel::{Channel, RecvSide, SendSide, channel};
use crate::channels::ChannelRoom;
use crate::place::Place;
use crate::wire::Item;

/// Which end it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    Chan,
    SendCloser,
    Sender,
    Recver,
    Closer,
}

impl Role {
    fn sends(self) -> bool {
        matches!(self, Role::Chan | Role::SendCloser | Role::Sender)
    }

    fn receives(self) -> bool {
        matches!(self, Role::Chan | Role::Recver)
    }

    fn closes(self) -> bool {
        !matches!(self, Role::Sender | Role::Recver)
    }

    /// Whether it is of this interface.
    pub(crate) fn is(self, interface: u64) -> bool {
        type Any = capnp::any_pointer::Owned;
        match interface {
            chan::Client::<Any>::TYPE_ID => self == Role::Chan,
            send_closer::Client::<Any>::TYPE_ID => self.sends() && self.closes(),
            sender::Client::<Any>::TYPE_ID => self.sends(),
            recver::Client::<Any>::TYPE_ID => self.receives(),
            closer::Client::TYPE_ID => self.closes(),
            _ => false,
        }
    }

    /// What it is, for people to read.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Role::Chan => "a channel",
            Role::SendCloser => "an end of a channel that sends and closes",
            Role::Sender => "an end of a channel that sends",
            Role::Recver => "an end of a channel that receives",
            Role::Closer => "an end of a channel that closes",
        }
    }
}

/// What an end is good for.
#[derive(Clone)]
pub(crate) struct Sides {
    sends: Option<Arc<SendSide<Item>>>,
    receives: Option<Arc<RecvSide<Item>>>,
    /// What the channel takes, for as long as somebody may use an end of it.
    taken: Arc<(ChannelRoom, Option<Charge>)>,
}

/// Who may use the sides: everybody who has the end, or whoever came to it by what was granted, until that
/// is revoked. Clones of an end share one, and nothing else has its sides: whoever counts who keeps a channel
/// relies on that.
pub(crate) enum Hold {
    Whole(Sides),
    Narrow(Revocable<Sides>),
}

/// An end of a channel: the same as another if it is of the same channel and the same kind, and was come
/// to in the same way.
#[derive(Clone)]
pub(crate) struct End {
    role: Role,
    channel: Arc<Channel<Item>>,
    hold: Arc<Hold>,
}

impl End {
    /// Both ends of a new channel that is made at `place`.
    pub(crate) fn at(place: &Place, capacity: usize, room: ChannelRoom) -> Result<Self, Denied> {
        place.require(Right::Store)?;
        let granted = place.authority();
        let charge = granted.map(|granted| granted.charge(Resource::Channels, 1)).transpose()?;
        let (channel, sends, receives) = channel(capacity);
        let taken = Arc::new((room, charge));
        let sides = Sides { sends: Some(sends), receives: Some(receives), taken };
        let end = End { role: Role::Chan, channel, hold: Arc::new(Hold::Whole(sides)) };
        granted.map_or(Ok(end.clone()), |granted| end.through(granted))
    }

    /// Another end of the same channel, with no right that this one does not have.
    pub(crate) fn narrowed(&self, role: Role) -> Result<Self, Denied> {
        let hold = match &*self.hold {
            Hold::Whole(sides) => Hold::Whole(sides.of(role)),
            Hold::Narrow(held) => {
                Hold::Narrow(held.with(|sides| held.authority().guard(sides.of(role)))??)
            }
        };
        Ok(End { role, channel: self.channel.clone(), hold: Arc::new(hold) })
    }

    /// The same for somebody who came to it by what was granted.
    pub(crate) fn through(&self, granted: &Authority) -> Result<Self, Denied> {
        let held = match &*self.hold {
            Hold::Whole(sides) => granted.guard(sides.clone())?,
            Hold::Narrow(held) => {
                let both = held.authority().and(granted)?;
                held.with(|sides| both.guard(sides.clone()))??
            }
        };
        Ok(End { hold: Arc::new(Hold::Narrow(held)), ..self.clone() })
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// What was granted, if that is not everything.
    pub(crate) fn authority(&self) -> Option<&Authority> {
        match &*self.hold {
            Hold::Whole(_) => None,
            Hold::Narrow(held) => Some(held.authority()),
        }
    }

    /// Uses the sides, unless what was granted has been revoked.
    fn with<R>(&self, using: impl FnOnce(&Sides) -> R) -> Result<R, Denied> {
        self.hold.with(using)
    }

    /// What keeps the right to receive, if this is an end that has it.
    pub(crate) fn receiving(&self) -> Option<&Arc<Hold>> {
        self.role.receives().then_some(&self.hold)
    }

    /// The channel, unless what was granted has been revoked.
    pub(crate) fn channel(&self) -> Result<&Arc<Channel<Item>>, Denied> {
        self.with(|_| &self.channel)
    }

    /// The right to send, if this is an end that has it.
    pub(crate) fn sends(&self) -> Result<Option<Arc<SendSide<Item>>>, Denied> {
        self.with(|sides| sides.sends.clone())
    }

    /// The right to receive, if this is an end that has it.
    pub(crate) fn receives(&self) -> Result<Option<Arc<RecvSide<Item>>>, Denied> {
        self.with(|sides| sides.receives.clone())
    }
}

impl Hold {
    fn with<R>(&self, using: impl FnOnce(&Sides) -> R) -> Result<R, Denied> {
        match self {
            Hold::Whole(sides) => Ok(using(sides)),
            Hold::Narrow(held) => held.with(using),
        }
    }

    /// The address of the side that receives, unless there is none or what was granted has been revoked.
    pub(crate) fn receives(&self) -> Option<usize> {
        self.with(|sides| sides.receives.as_ref().map(|side| Arc::as_ptr(side).addr())).ok()?
    }
}

impl Sides {
    /// Those that an end of this kind has.
    fn of(&self, role: Role) -> Self {
        Sides {
            sends: self.sends.clone().filter(|_| role.sends()),
            receives: self.receives.clone().filter(|_| role.receives()),
            taken: self.taken.clone(),
        }
    }
}

impl PartialEq for End {
    fn eq(&self, other: &Self) -> bool {
        let same = self.role == other.role && Arc::ptr_eq(&self.channel, &other.channel);
        same && self.authority() == other.authority()
    }
}

impl Eq for End {}

impl Hash for End {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.role.hash(state);
        Arc::as_ptr(&self.channel).hash(state);
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.role.fmt(f)
    }
}
