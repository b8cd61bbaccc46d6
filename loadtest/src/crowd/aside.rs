//! What the coordinator and the threads of a run tell each other beside what is on the board of every
//! run, also from one process to another.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A board of a scenario's own.
pub(crate) trait Aside: Default + Sync {
    /// What the coordinator wants of other processes.
    type Order: Serialize + DeserializeOwned;
    /// What all threads of a process say.
    type News: Serialize + DeserializeOwned;
    /// What a process has said so far.
    type Heard: Default;

    /// What other processes are to go by, if there is anything.
    fn order(&self) -> Option<Self::Order>;

    /// Takes an order of the coordinator in another process.
    fn obey(&self, order: Self::Order);

    /// What so many threads of this process say.
    fn news(&self, threads: usize) -> Option<Self::News>;

    /// Takes in what another process says.
    fn hear(&self, news: &Self::News, heard: &mut Self::Heard);
}

/// Nothing is to be said.
impl Aside for () {
    type Order = ();
    type News = ();
    type Heard = ();

    fn order(&self) -> Option<()> {
        None
    }

    fn obey(&self, (): ()) {}

    fn news(&self, _threads: usize) -> Option<()> {
        None
    }

    fn hear(&self, (): &(), (): &mut ()) {}
}
