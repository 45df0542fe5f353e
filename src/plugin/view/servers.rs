//! Finding a session: the servers of a directory, or the user's own, with who is there and how far it is.

use std::cmp::Ordering;
use std::net::SocketAddr;
use std::sync::Arc;

use egui::{
    Align, Align2, Color32, ComboBox, FontId, Label, Layout, Rect, ScrollArea, Sense, Ui, UiBuilder, pos2,
    vec2,
};

use super::theme::{DARK, SMALL};
use super::widgets::{
    body, button, caption, elided, field, instrument_text, large, listed, main_button, paint_downwards,
    paint_star, toggle,
};
use super::{Action, Model, View, inside, is_busy};
use crate::client::{Found, ListState, PUBLIC_DIRECTORIES, Search, ServerFacts};
use crate::plugin::html::{clean, one_line, plain_text};
use crate::plugin::state::is_address;
use crate::plugin::user_file::{Change, UserData};
use crate::protocol::tables::country;

/// Height of a server that nobody is on, in points.
const ROW_HEIGHT: f32 = 26.0;
/// Height of a server with a line of names, in points.
const TALL_ROW_HEIGHT: f32 = 44.0;
/// Height of what is told about the chosen server, in points.
const DETAILS_HEIGHT: f32 = 148.0;
/// Widths of the columns but the first, in points.
const PING_WIDTH: f32 = 66.0;
const PLAYERS_WIDTH: f32 = 64.0;
const PLACE_WIDTH: f32 = 130.0;
/// Narrower than this, places are told only below.
const PLACES_FROM: f32 = 460.0;
/// Up to this ping a jam is comfortable, in ms.
const GOOD_PING_MS: f32 = 25.0;
/// Up to this ping it is possible, in ms.
const FAIR_PING_MS: f32 = 50.0;
/// What stands before a filter that wants occupied servers only, as in Jamulus.
const OCCUPIED: char = '#';
/// Under the pointer nothing moves; elsewhere the order is mended this often, in seconds.
const REORDER_S: f64 = 1.0;

/// What the list is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sort {
    #[default]
    Ping,
    Name,
    Players,
    Place,
}

/// What the user wants to know about servers now; see [`super::Drawn`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Looking {
    /// Into this directory.
    pub directory: Option<String>,
    /// At these servers, as the user names them.
    pub watched: Vec<String>,
    /// At this one closely.
    pub examined: Option<SocketAddr>,
    /// Another number: afresh.
    pub afresh: u32,
}

/// The page's own memory.
#[derive(Default)]
pub(super) struct ServersPage {
    pub(super) open: bool,
    filter: String,
    sort: Sort,
    /// What is joined when the chosen server is.
    chosen: Option<String>,
    /// A directory being typed.
    adding: Option<String>,
    afresh: u32,
    /// What `rows` were made of.
    source: Option<Arc<Found>>,
    rows: Vec<Row>,
    ordered_at_s: f64,
}

/// A server in words.
struct Row {
    address: Option<SocketAddr>,
    /// What is joined, and by what a favourite is known.
    join: String,
    name: String,
    place: String,
    /// Who is there, in one line.
    people: String,
    players: String,
    ping_ms: Option<f32>,
    clients: Option<u8>,
}

impl View {
    /// What the window wants to know about servers.
    pub(super) fn looking(&self, model: &Model<'_>) -> Option<Looking> {
        let page = &self.servers;
        let user = model.user;
        if page.open {
            let own = user.directory.is_empty();
            let examined = page.chosen_row().and_then(|row| row.address);
            return Some(Looking {
                directory: (!own).then(|| user.directory.clone()),
                watched: if own { own_servers(user) } else { Vec::new() },
                examined,
                afresh: page.afresh,
            });
        }
        // The way in tells how far the servers are that the user knows.
        (!is_busy(&model.snapshot.state) && !user.recents.is_empty())
            .then(|| Looking { watched: user.recents.clone(), ..Looking::default() })
    }

    pub(super) fn servers_page(&mut self, ui: &mut Ui, model: &Model<'_>, actions: &mut Vec<Action>) {
        let now_s = ui.input(|input| input.time);
        self.servers.follow(model, now_s);
        ui.spacing_mut().item_spacing.y = 6.0;
        self.choose_directory(ui, model, actions);
        if self.servers.adding.is_some() {
            self.add_directory(ui, actions);
        }
        self.filter_and_state(ui, model);
        let has_chosen = self.servers.chosen_row().is_some();
        let details = if has_chosen { DETAILS_HEIGHT + 8.0 } else { 0.0 };
        let room = ui.available_rect_before_wrap();
        let list = Rect::from_min_max(room.min, pos2(room.right(), room.bottom() - details));
        inside(ui, UiBuilder::new().id_salt("list"), list, |ui| self.list(ui, model.user, now_s, actions));
        if has_chosen {
            let below = Rect::from_min_max(pos2(room.left(), room.bottom() - DETAILS_HEIGHT), room.max);
            inside(ui, UiBuilder::new().id_salt("details"), below, |ui| self.details(ui, model, actions));
        }
    }

    fn choose_directory(&mut self, ui: &mut Ui, model: &Model<'_>, actions: &mut Vec<Action>) {
        let user = model.user;
        ui.horizontal(|ui| {
            ui.label(large("Find a session"));
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if button(ui, "Close", 64.0).clicked() {
                    self.servers.open = false;
                }
                if button(ui, "Refresh", 72.0).on_hover_text("Ask again").clicked() {
                    self.servers.afresh = self.servers.afresh.wrapping_add(1);
                }
                let shown = directory_name(&user.directory);
                let list = ComboBox::from_id_salt("directory").width(156.0).height(480.0).truncate();
                list.selected_text(body(shown)).show_ui(ui, |ui| {
                    let mut choose = |ui: &mut Ui, address: &str| {
                        let chosen = user.directory == address;
                        if ui.selectable_label(chosen, directory_name(address)).clicked() && !chosen {
                            actions.push(Action::User(Change::LookInto(address.to_owned())));
                        }
                    };
                    choose(ui, "");
                    PUBLIC_DIRECTORIES.iter().for_each(|(_, address)| choose(ui, address));
                    user.directories.iter().for_each(|address| choose(ui, address));
                    if ui.selectable_label(false, "Add a directory…").clicked() {
                        self.servers.adding = Some(String::new());
                    }
                    if user.directories.contains(&user.directory)
                        && ui.selectable_label(false, "Remove this directory").clicked()
                    {
                        actions.push(Action::User(Change::RemoveDirectory(user.directory.clone())));
                    }
                });
            });
        });
    }

    fn add_directory(&mut self, ui: &mut Ui, actions: &mut Vec<Action>) {
        let Some(typed) = &mut self.servers.adding else { return };
        let mut done = false;
        ui.horizontal(|ui| {
            let width = ui.available_width() - 2.0 * (72.0 + 8.0);
            let field = field(typed, "directory address, such as dir.example.org:22124").desired_width(width);
            let edit = ui.add_sized(vec2(width, 28.0), field.id_salt("directory address").char_limit(300));
            let entered = edit.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Enter));
            let address = typed.trim();
            let add = ui.add_enabled_ui(is_address(address), |ui| main_button(ui, "Add", 72.0)).inner;
            if (add.clicked() || entered) && is_address(address) {
                actions.push(Action::User(Change::AddDirectory(address.to_owned())));
                done = true;
            }
            done |= button(ui, "Cancel", 72.0).clicked();
        });
        if done {
            self.servers.adding = None;
        }
    }

    fn filter_and_state(&mut self, ui: &mut Ui, model: &Model<'_>) {
        ui.horizontal(|ui| {
            let width = (ui.available_width() * 0.5).min(240.0);
            let hint = "filter; # for occupied ones";
            let edit =
                field(&mut self.servers.filter, hint).desired_width(width).id_salt("filter").char_limit(100);
            ui.add_sized(vec2(width, 28.0), edit);
            let (colour, text) = self.servers.state_text(model.found.map(|found| &**found), model.user);
            ui.add(Label::new(caption(text).color(colour)).wrap());
        });
    }

    fn list(&mut self, ui: &mut Ui, user: &UserData, now_s: f64, actions: &mut Vec<Action>) {
        let page = &mut self.servers;
        let columns = Columns::of(ui.available_rect_before_wrap());
        page.heads(ui, &columns);
        let shown: Vec<usize> =
            (0..page.rows.len()).filter(|index| page.is_shown(&page.rows[*index])).collect();
        let area = ScrollArea::vertical().auto_shrink(false).id_salt("servers");
        let output = area.show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 2.0;
            let mut chosen = None;
            for index in shown {
                let row = &page.rows[index];
                let is_chosen = page.chosen.as_ref() == Some(&row.join);
                let clicked = row.show(ui, &columns, is_chosen, row.is_favourite(user), actions);
                if clicked {
                    chosen = Some(row.join.clone());
                }
            }
            if chosen.is_some() {
                page.chosen = chosen;
            }
        });
        let pointer = ui.input(|input| input.pointer.hover_pos());
        let pointed_at = pointer.is_some_and(|pointer| output.inner_rect.contains(pointer));
        if !pointed_at && now_s - page.ordered_at_s >= REORDER_S {
            page.order(now_s);
        }
    }

    /// The chosen server: what it says, who is there, and the way in.
    fn details(&mut self, ui: &mut Ui, model: &Model<'_>, actions: &mut Vec<Action>) {
        let Some(row) = self.servers.chosen_row() else { return };
        let facts = row
            .address
            .zip(model.found)
            .and_then(|(address, found)| found.servers.iter().find(|facts| facts.address == address));
        let favourite = row.is_favourite(model.user);
        let rect = ui.max_rect();
        ui.painter().rect(rect, 6.0, DARK.panel, (1.0, DARK.edge), egui::StrokeKind::Inside);
        let mut join = false;
        inside(ui, UiBuilder::new(), rect.shrink(10.0), |ui| {
            ui.horizontal(|ui| {
                let width = ui.available_width() - 88.0 - 84.0 - 16.0;
                ui.allocate_ui_with_layout(vec2(width, 28.0), Layout::left_to_right(Align::Center), |ui| {
                    ui.set_min_width(width);
                    elided(ui, body(row.name.as_str()).strong());
                });
                let star = toggle(
                    ui,
                    if favourite { "Favourite" } else { "Keep" },
                    favourite,
                    DARK.pressed,
                    vec2(84.0, 28.0),
                );
                if star.on_hover_text("Keep it among your own servers").clicked() {
                    let change = if favourite { Change::Disfavour } else { Change::Favour };
                    actions.push(Action::User(change(row.join.clone())));
                }
                join = main_button(ui, "Join", 88.0).clicked();
            });
            ui.spacing_mut().item_spacing.y = 2.0;
            ScrollArea::vertical().auto_shrink(false).id_salt("details").show(ui, |ui| {
                let version = facts.and_then(|facts| facts.version.as_deref()).map(clean).unwrap_or_default();
                let version = if version.is_empty() { String::new() } else { format!("version {version}") };
                ui.label(caption(listed(&[&row.join, &row.place, &version], " · ")));
                if let Some(facts) = facts {
                    facts.people.iter().for_each(|person| {
                        ui.label(body(person_text(person)));
                    });
                    if let Some(welcome) = &facts.welcome {
                        ui.add_space(4.0);
                        ui.label(caption(plain_text(welcome)));
                    }
                }
            });
        });
        if join {
            actions.push(Action::Join(row.join.clone()));
            self.address.clone_from(&row.join);
            self.servers.open = false;
        }
    }
}

impl ServersPage {
    fn chosen_row(&self) -> Option<&Row> {
        self.rows.iter().find(|row| Some(&row.join) == self.chosen.as_ref())
    }

    /// Takes over what was found since the last frame. The order stays until nobody points at the list.
    fn follow(&mut self, model: &Model<'_>, now_s: f64) {
        let same = match (&self.source, model.found) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (before, now) => before.is_none() && now.is_none(),
        };
        if same {
            return;
        }
        self.source = model.found.cloned();
        let before: Vec<String> = std::mem::take(&mut self.rows).into_iter().map(|row| row.join).collect();
        let Some(found) = model.found else { return };
        self.rows = if model.user.directory.is_empty() {
            own_servers(model.user)
                .into_iter()
                .map(|join| {
                    let facts = found.server(&join);
                    Row::new(join, facts)
                })
                .collect()
        } else {
            found
                .servers
                .iter()
                .filter(|facts| facts.listed)
                .map(|facts| Row::new(facts.address.to_string(), Some(facts)))
                .collect()
        };
        let known = self.rows.iter().filter(|row| before.contains(&row.join)).count();
        let place = |join: &String| before.iter().position(|known| known == join).unwrap_or(usize::MAX);
        self.rows.sort_by_cached_key(|row| place(&row.join));
        if known == 0 {
            self.order(now_s);
        }
    }

    fn order(&mut self, now_s: f64) {
        self.ordered_at_s = now_s;
        let by_ping = |a: &Row, b: &Row| {
            let ping = |row: &Row| row.ping_ms.unwrap_or(f32::INFINITY);
            ping(a).total_cmp(&ping(b))
        };
        let by_name = |a: &Row, b: &Row| a.name.to_lowercase().cmp(&b.name.to_lowercase());
        let sort = self.sort;
        self.rows.sort_by(|a, b| {
            let order = match sort {
                // A ping that trembles by a millisecond changes no place.
                Sort::Ping => {
                    let coarse = |row: &Row| (row.ping_ms.unwrap_or(f32::MAX) / 5.0) as u32;
                    coarse(a).cmp(&coarse(b))
                }
                Sort::Name => Ordering::Equal,
                Sort::Players => b.clients.cmp(&a.clients).then_with(|| by_ping(a, b)),
                Sort::Place => a.place.to_lowercase().cmp(&b.place.to_lowercase()),
            };
            order.then_with(|| by_name(a, b)).then_with(|| a.join.cmp(&b.join))
        });
    }

    /// Whether the filter lets it through, and it is there at all.
    fn is_shown(&self, row: &Row) -> bool {
        let own_list = self.source.as_ref().is_some_and(|found| found.search == Search::Idle);
        // As in Jamulus: who does not answer is not listed.
        if row.ping_ms.is_none() && !own_list && self.chosen.as_ref() != Some(&row.join) {
            return false;
        }
        let filter = self.filter.trim();
        let (occupied, wanted) = match filter.strip_prefix(OCCUPIED) {
            Some(rest) => (true, rest.trim()),
            None => (false, filter),
        };
        if occupied && row.clients.unwrap_or(0) == 0 {
            return false;
        }
        let wanted = wanted.to_lowercase();
        wanted.is_empty()
            || [&row.name, &row.place, &row.people, &row.join]
                .into_iter()
                .any(|text| text.to_lowercase().contains(&wanted))
    }

    fn heads(&mut self, ui: &mut Ui, columns: &Columns) {
        let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 20.0), Sense::hover());
        let mut sort = self.sort;
        for (name, choice, x) in [
            ("ping", Sort::Ping, Some(columns.ping)),
            ("server", Sort::Name, Some(columns.name)),
            ("players", Sort::Players, Some(columns.players)),
            ("place", Sort::Place, columns.place),
        ] {
            let Some((left, right)) = x else { continue };
            let head = Rect::from_min_max(pos2(left, rect.top()), pos2(right, rect.bottom()));
            let response = ui.interact(head, ui.scope_id().with(name), Sense::click());
            let chosen = sort == choice;
            response.widget_info(|| egui::WidgetInfo::selected(egui::Role::Button, true, chosen, name));
            let bright = chosen || response.hovered() || response.has_focus();
            let colour = if bright { DARK.text } else { DARK.second };
            let font = FontId::proportional(SMALL);
            let text = ui.painter().text(head.left_center(), Align2::LEFT_CENTER, name, font, colour);
            if chosen {
                paint_downwards(ui.painter(), text.right_center() + vec2(8.0, 0.5), 3.5, colour);
            }
            if response.on_hover_text("Sort by this").clicked() {
                sort = choice;
            }
        }
        if sort != self.sort {
            self.sort = sort;
            self.order(self.ordered_at_s);
        }
    }

    /// What there is to say about the search.
    fn state_text(&self, found: Option<&Found>, user: &UserData) -> (Color32, String) {
        let there = self.rows.iter().filter(|row| row.ping_ms.is_some());
        let (there, silent) = (there.clone().count(), self.rows.len() - there.count());
        let occupied = self.rows.iter().filter(|row| row.clients.is_some_and(|clients| clients > 0)).count();
        let count = match there {
            1 => format!("1 server, {occupied} with players"),
            there => format!("{there} servers, {occupied} with players"),
        };
        let silent = if silent > 0 { format!(", {silent} without an answer") } else { String::new() };
        let search = found.map_or(&Search::LookingUp, |found| &found.search);
        match search {
            Search::Idle if self.rows.is_empty() => {
                (DARK.second, "Servers that you join or keep are found here again.".to_owned())
            }
            Search::Idle => (DARK.second, count + &silent),
            Search::LookingUp => (DARK.warn, "looking up the directory…".to_owned()),
            Search::NoAddress => {
                let text = format!(
                    "{} was not found. Check the internet connection, or choose another.",
                    user.directory
                );
                (DARK.bad, text)
            }
            Search::List(ListState::Idle | ListState::Asked) => {
                (DARK.warn, "asking the directory…".to_owned())
            }
            Search::List(ListState::Silent) => {
                let text =
                    "The directory does not answer. A firewall may block UDP, or it is down: try another.";
                (DARK.bad, text.to_owned())
            }
            Search::List(ListState::Reduced) => {
                (DARK.warn, format!("{count} (short list: the long one was lost on the way)"))
            }
            Search::List(ListState::Complete) => (DARK.second, count + &silent),
            Search::Failed(why) => (DARK.bad, why.clone()),
        }
    }
}

impl Row {
    fn new(join: String, facts: Option<&ServerFacts>) -> Self {
        let Some(facts) = facts else {
            let name = clean(&join);
            return Self {
                address: None,
                join,
                name,
                place: String::new(),
                people: String::new(),
                players: String::new(),
                ping_ms: None,
                clients: None,
            };
        };
        let name = clean(&facts.name);
        let name = if name.is_empty() { clean(&join) } else { name };
        let country = country(facts.country).map_or("", |country| country.name);
        let place = listed(&[&clean(&facts.city), country], ", ");
        let named =
            facts.people.iter().map(|person| clean(&person.info.name)).filter(|name| !name.is_empty());
        let players = match (facts.clients, facts.max_clients) {
            (None, _) => String::new(),
            (Some(clients), 0) => clients.to_string(),
            (Some(clients), most) => format!("{clients} / {most}"),
        };
        Self {
            address: Some(facts.address),
            join,
            name,
            place,
            people: named.collect::<Vec<_>>().join(", "),
            players,
            ping_ms: facts.ping_ms,
            clients: facts.clients,
        }
    }

    fn is_favourite(&self, user: &UserData) -> bool {
        user.favourites.contains(&self.join)
    }

    /// Shows it, and tells whether it was clicked.
    fn show(
        &self,
        ui: &mut Ui,
        columns: &Columns,
        chosen: bool,
        favourite: bool,
        actions: &mut Vec<Action>,
    ) -> bool {
        let height = if self.people.is_empty() { ROW_HEIGHT } else { TALL_ROW_HEIGHT };
        let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
        if !ui.is_rect_visible(rect) {
            return false;
        }
        let response = ui.interact(rect, ui.scope_id().with(&self.join), Sense::click());
        response.widget_info(|| egui::WidgetInfo::selected(egui::Role::Button, true, chosen, &self.name));
        let fill = match (chosen, response.hovered()) {
            (true, _) => DARK.control,
            (false, true) => DARK.panel,
            (false, false) => DARK.panel_low,
        };
        let edge = if chosen || response.has_focus() { DARK.accent } else { DARK.edge };
        let painter = ui.painter();
        painter.rect(rect, 4.0, fill, (1.0, edge), egui::StrokeKind::Inside);
        let y = rect.top() + ROW_HEIGHT / 2.0;
        let (colour, ping) = ping_text(self.ping_ms);
        painter.circle_filled(pos2(columns.ping.0 + 10.0, y), 4.0, colour);
        let font = FontId::proportional(SMALL);
        painter.text(pos2(columns.ping.1 - 10.0, y), Align2::RIGHT_CENTER, ping, font.clone(), DARK.text);
        painter.text(pos2(columns.players.0, y), Align2::LEFT_CENTER, &self.players, font, DARK.text);
        let line = |(left, right): (f32, f32), top: f32| {
            Rect::from_min_max(pos2(left, top), pos2(right - 8.0, top + 16.0))
        };
        let top = y - 8.0;
        let mut name = columns.name;
        if favourite {
            paint_star(painter, pos2(name.0 + 6.0, y - 0.5), 6.5, DARK.warn);
            name.0 += 17.0;
        }
        let middle = || UiBuilder::new().layout(Layout::left_to_right(Align::Center));
        inside(ui, middle().id_salt(&self.join), line(name, top), |ui| {
            elided(ui, body(self.name.as_str()));
        });
        if let Some(place) = columns.place {
            inside(ui, middle().id_salt((&self.join, 1)), line(place, top), |ui| {
                elided(ui, caption(self.place.as_str()));
            });
        }
        if !self.people.is_empty() {
            let people = line((columns.name.0, rect.right()), rect.bottom() - 20.0);
            inside(ui, middle().id_salt((&self.join, 2)), people, |ui| {
                elided(ui, caption(self.people.as_str()));
            });
        }
        if response.double_clicked() {
            actions.push(Action::Join(self.join.clone()));
        }
        response.clicked()
    }
}

/// Where columns begin and end, in points.
struct Columns {
    ping: (f32, f32),
    name: (f32, f32),
    players: (f32, f32),
    place: Option<(f32, f32)>,
}

impl Columns {
    fn of(room: Rect) -> Self {
        // The scroll bar's place.
        let right = room.right() - 10.0;
        let place = (room.width() >= PLACES_FROM).then_some((right - PLACE_WIDTH, right));
        let players_right = place.map_or(right, |(left, _)| left);
        let players = (players_right - PLAYERS_WIDTH, players_right);
        let ping = (room.left(), room.left() + PING_WIDTH);
        Self { ping, name: (ping.1, players.0), players, place }
    }
}

/// Favourites, then servers joined before.
fn own_servers(user: &UserData) -> Vec<String> {
    let recents = user.recents.iter().filter(|recent| !user.favourites.contains(recent));
    user.favourites.iter().chain(recents).cloned().collect()
}

fn directory_name(address: &str) -> String {
    if address.is_empty() {
        return "My servers".to_owned();
    }
    let public = PUBLIC_DIRECTORIES.iter().find(|(_, known)| *known == address);
    public.map_or_else(|| address.to_owned(), |(name, _)| (*name).to_owned())
}

/// A ping's colour and figures.
pub(super) fn ping_text(ping_ms: Option<f32>) -> (Color32, String) {
    match ping_ms.filter(|ping| ping.is_finite()) {
        None => (DARK.control_edge, "–".to_owned()),
        Some(ping) => {
            let colour = match ping {
                ping if ping <= GOOD_PING_MS => DARK.ok,
                ping if ping <= FAIR_PING_MS => DARK.warn,
                _ => DARK.bad,
            };
            (colour, format!("{ping:.0} ms"))
        }
    }
}

/// Somebody on a server, in one line.
fn person_text(person: &crate::protocol::ClientEntry) -> String {
    let info = &person.info;
    let name = one_line(&clean(&info.name));
    let name = if name.is_empty() { "Somebody".to_owned() } else { name };
    let country = country(info.country).map_or("", |country| country.name);
    let city = clean(&info.city);
    listed(&[&name, instrument_text(info.instrument), &city, country], " · ")
}
