//! Finds sessions to join: a thread that looks into directories and at servers while somebody wants to know.
//!
//! It exists only as long as a [`Finder`] does, and says nothing about us but our address: see [`Browser`].

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam::channel::{Receiver, Sender, unbounded};

use super::look_up::{Answer, look_up};
use crate::net::{BindOptions, ReceiveBatch, SendBatch, Socket, Waiter, Waker, clock_now};
use crate::protocol::ServerAddress;
use crate::session::{Browser, ListState, ServerFacts};
use crate::units::Time;

/// What was found is told this often at most.
const TELL_INTERVAL: Duration = Duration::from_millis(400);
/// Names that are looked up at once.
const MAX_ASKING: usize = 3;
/// Where the whole process looks up too many names already, another attempt is made after this long.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Datagrams read at once: answers come in bursts.
const RECEIVE_SLOTS: usize = 32;

/// The directories that everybody knows: their name, and where they are (`docs/PROTOCOL.md` §4).
pub const PUBLIC_DIRECTORIES: [(&str, &str); 7] = [
    ("Any genre 1", "anygenre1.jamulus.app:22124"),
    ("Any genre 2", "anygenre2.jamulus.app:22224"),
    ("Asia", "asia.jamulus.app:22624"),
    ("Rock", "rock.jamulus.app:22424"),
    ("Jazz", "jazz.jamulus.app:22324"),
    ("Classical, folk", "classical.jamulus.app:22524"),
    ("Choral, barbershop", "choral.jamulus.app:22724"),
];

/// How the search goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Search {
    /// No directory is wanted.
    #[default]
    Idle,
    /// Its address is being looked up.
    LookingUp,
    /// Its name has no address, or the text is none.
    NoAddress,
    /// It is asked, or has answered.
    List(ListState),
    /// The system gives us no way into the network: why.
    Failed(String),
}

/// What was found up to now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// How the search goes.
    pub search: Search,
    /// Servers: those of the directory in its own order, then the chosen ones.
    pub servers: Vec<ServerFacts>,
    /// Where the chosen servers are, by the text that was given for them.
    pub places: Vec<(String, SocketAddr)>,
}

impl Found {
    /// What is known about the server that somebody calls `text`.
    pub fn server(&self, text: &str) -> Option<&ServerFacts> {
        let (_, address) = self.places.iter().find(|(known, _)| known == text)?;
        self.servers.iter().find(|facts| facts.address == *address)
    }
}

enum Order {
    Directory(Option<String>),
    Watch(Vec<String>),
    Examine(SocketAddr),
}

/// A search under way. Dropping it ends it.
pub struct Finder {
    orders: Option<Sender<Order>>,
    waker: Waker,
    found: Arc<ArcSwap<Found>>,
    thread: Option<JoinHandle<()>>,
}

impl Finder {
    /// Starts to search; `notify` is called from another thread whenever more was found.
    ///
    /// # Errors
    /// What the system says: no socket, no thread.
    pub fn start(notify: impl Fn() + Send + 'static) -> io::Result<Self> {
        let mut waiter = Waiter::new()?;
        let socket = Socket::bind(&BindOptions::default())?;
        waiter.watch(&socket)?;
        let waker = waiter.waker();
        let (orders, inbox) = unbounded();
        let (answer_sender, answers) = unbounded();
        let found = Arc::<ArcSwap<Found>>::default();
        let mut search = Searching {
            browser: Browser::default(),
            directory: None,
            state: Search::Idle,
            watched: Vec::new(),
            places: Vec::new(),
            unasked: VecDeque::new(),
            asking: 0,
            answer_sender,
            answers,
            waker: waker.clone(),
        };
        let tell = Arc::clone(&found);
        let run = move || {
            // A panic ends the search, not the host.
            let ran =
                catch_unwind(AssertUnwindSafe(|| search.run(&mut waiter, &socket, &inbox, &tell, &notify)));
            if !matches!(ran, Ok(Ok(()))) {
                let failed =
                    Search::Failed("The search has stopped. Close this page and open it again.".to_owned());
                tell.store(Arc::new(Found { search: failed, ..Found::default() }));
                notify();
            }
        };
        let thread = std::thread::Builder::new().name("jamulet-find".to_owned()).spawn(run)?;
        Ok(Self { orders: Some(orders), waker, found, thread: Some(thread) })
    }

    /// Looks into this directory (`host:port`), or into none; into the same one again: afresh.
    pub fn look_into(&self, directory: Option<&str>) {
        self.order(Order::Directory(directory.map(str::to_owned)));
    }

    /// Looks at these servers, too, as a person names them.
    pub fn watch(&self, addresses: &[String]) {
        self.order(Order::Watch(addresses.to_vec()));
    }

    /// The user looks at this server: its welcome text is wanted.
    pub fn examine(&self, address: SocketAddr) {
        self.order(Order::Examine(address));
    }

    /// What was found up to now.
    pub fn found(&self) -> Arc<Found> {
        self.found.load_full()
    }

    fn order(&self, order: Order) {
        // The thread is gone only after a fault, which it has told.
        if let Some(orders) = &self.orders {
            let _ = orders.send(order);
        }
        self.waker.wake();
    }
}

impl Drop for Finder {
    fn drop(&mut self) {
        self.orders = None;
        self.waker.wake();
        self.thread.take().into_iter().for_each(|thread| drop(thread.join()));
    }
}

/// What a name is looked up for.
#[derive(Clone)]
enum Question {
    Directory(String),
    Watched(String),
}

/// The thread's side.
struct Searching {
    browser: Browser,
    /// The one that is wanted.
    directory: Option<String>,
    state: Search,
    watched: Vec<String>,
    places: Vec<(String, SocketAddr)>,
    /// Names that wait for their look-up.
    unasked: VecDeque<Question>,
    asking: usize,
    answer_sender: Sender<Answer<Question>>,
    answers: Receiver<Answer<Question>>,
    waker: Waker,
}

impl Searching {
    fn run(
        &mut self,
        waiter: &mut Waiter,
        socket: &Socket,
        orders: &Receiver<Order>,
        found: &ArcSwap<Found>,
        notify: &impl Fn(),
    ) -> io::Result<()> {
        let mut inbox = ReceiveBatch::new(RECEIVE_SLOTS);
        let mut outbox = SendBatch::new(64, 16 << 10);
        let (mut changed, mut told) = (false, Time::ZERO);
        loop {
            let now = clock_now();
            loop {
                match orders.try_recv() {
                    Ok(order) => self.obey(now, order),
                    Err(error) if error.is_disconnected() => return waiter.unwatch(socket),
                    Err(_) => break,
                }
                changed = true;
            }
            while let Ok((question, addresses)) = self.answers.try_recv() {
                self.asking -= 1;
                self.take_answer(now, question, addresses);
                changed = true;
            }
            self.ask_names();
            while socket.receive(&mut inbox)? > 0 {
                let now = clock_now();
                for (from, datagram) in inbox.iter() {
                    changed |= self.browser.handle_datagram(now, from, datagram);
                }
            }
            let now = clock_now();
            changed |= self.browser.handle_timeout(now);
            while let Some((to, datagram)) = self.browser.poll_transmit() {
                if !outbox.push(to, &datagram) {
                    socket.send(&mut outbox);
                    let _ = outbox.push(to, &datagram);
                }
            }
            socket.send(&mut outbox);
            if changed && now.since(told) >= TELL_INTERVAL {
                found.store(Arc::new(self.found()));
                notify();
                (changed, told) = (false, now);
            }
            let tell_at = changed.then(|| told + TELL_INTERVAL);
            let ask_at = (!self.unasked.is_empty() && self.asking < MAX_ASKING).then(|| now + ASK_AGAIN);
            let deadline = self.browser.poll_timeout().into_iter().chain(tell_at).chain(ask_at).min();
            waiter.wait(Some(socket), deadline.map(|deadline| deadline.since(clock_now())))?;
        }
    }

    fn obey(&mut self, now: Time, order: Order) {
        match order {
            Order::Directory(None) => {
                self.directory = None;
                self.state = Search::Idle;
                self.browser.ask_nobody(now);
            }
            Order::Directory(Some(name)) => {
                if self.directory.as_ref() != Some(&name) {
                    self.browser.ask_nobody(now);
                }
                self.directory = Some(name.clone());
                self.state = Search::LookingUp;
                // The page that somebody looks at comes first.
                self.unasked.push_front(Question::Directory(name));
            }
            Order::Watch(names) => {
                let is_new = |name: &&String| !self.watched.contains(name);
                let new: Vec<String> = names.iter().filter(is_new).cloned().collect();
                self.unasked.extend(new.into_iter().map(Question::Watched));
                self.places.retain(|(name, _)| names.contains(name));
                self.watched = names;
                self.watch(now);
            }
            Order::Examine(address) => self.browser.examine(address),
        }
    }

    fn ask_names(&mut self) {
        while self.asking < MAX_ASKING {
            let Some(question) = self.unasked.pop_front() else { return };
            let (Question::Directory(name) | Question::Watched(name)) = &question;
            let Ok(address) = name.parse::<ServerAddress>() else {
                self.refuse(question);
                continue;
            };
            let (answers, waker) = (self.answer_sender.clone(), self.waker.clone());
            if !look_up(question.clone(), address, answers, waker) {
                return self.unasked.push_front(question);
            }
            self.asking += 1;
        }
    }

    /// What is no address needs no look-up to know that.
    fn refuse(&mut self, question: Question) {
        if let Question::Directory(name) = question
            && self.directory.as_ref() == Some(&name)
        {
            self.state = Search::NoAddress;
        }
    }

    fn take_answer(&mut self, now: Time, question: Question, addresses: Option<Vec<SocketAddr>>) {
        let addresses = addresses.unwrap_or_default();
        match question {
            Question::Directory(name) if self.directory.as_ref() == Some(&name) => {
                // Directories speak IPv4 only (docs/PROTOCOL.md §4).
                match addresses.iter().find(|address| address.is_ipv4()) {
                    Some(address) => {
                        self.state = Search::List(ListState::Asked);
                        self.browser.ask(now, *address);
                    }
                    None => self.state = Search::NoAddress,
                }
            }
            Question::Watched(name) if self.watched.contains(&name) => {
                if let Some(address) = addresses.first() {
                    self.places.push((name, *address));
                    self.watch(now);
                }
            }
            // Nobody wants to know any more.
            Question::Directory(_) | Question::Watched(_) => {}
        }
    }

    fn watch(&mut self, now: Time) {
        let addresses: Vec<SocketAddr> = self.places.iter().map(|(_, address)| *address).collect();
        self.browser.watch(now, &addresses);
    }

    fn found(&self) -> Found {
        let search = match &self.state {
            Search::List(_) => Search::List(self.browser.state()),
            other => other.clone(),
        };
        Found { search, servers: self.browser.servers().cloned().collect(), places: self.places.clone() }
    }
}
