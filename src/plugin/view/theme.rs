//! Colours, sizes and egui's style, from the design page.

use egui::{Color32, CornerRadius, FontFamily, FontId, Stroke, TextStyle};

/// Small text, in points.
pub const SMALL: f32 = 11.0;
/// Normal text, in points.
pub const BODY: f32 = 13.0;
/// Large text, in points.
pub const LARGE: f32 = 15.0;

/// The colours of a theme.
pub struct Palette {
    /// Ground of the middle.
    pub window: Color32,
    /// Ground of header, footer, track column and strips.
    pub panel: Color32,
    /// Ground of the side panel.
    pub panel_low: Color32,
    /// Lines between parts.
    pub edge_dark: Color32,
    /// Outlines of strips and cards.
    pub edge: Color32,
    /// Ground of fields and meters.
    pub well: Color32,
    /// Ground of buttons.
    pub control: Color32,
    /// Outline of buttons.
    pub control_edge: Color32,
    /// Text.
    pub text: Color32,
    /// Less important text.
    pub second: Color32,
    /// What is active, own or selected.
    pub accent: Color32,
    /// A pressed or selected button, under white text.
    pub pressed: Color32,
    /// All is well.
    pub ok: Color32,
    /// Look here.
    pub warn: Color32,
    /// Something is wrong.
    pub bad: Color32,
    /// Something is muted, under white text.
    pub mute: Color32,
    /// Somebody is heard alone, under white text.
    pub solo: Color32,
    /// Text on `pressed`, `mute` and `solo`.
    pub white: Color32,
}

/// The dark theme.
pub const DARK: Palette = Palette {
    window: hex(0x15181d),
    panel: hex(0x1b1f26),
    panel_low: hex(0x191d23),
    edge_dark: hex(0x0e1013),
    edge: hex(0x262c35),
    well: hex(0x101318),
    control: hex(0x262c35),
    control_edge: hex(0x39414c),
    text: hex(0xdfe3e8),
    second: hex(0x8b95a3),
    accent: hex(0x5aa9e6),
    pressed: hex(0x2a6590),
    ok: hex(0x4fb286),
    warn: hex(0xe2b64a),
    bad: hex(0xe5574f),
    mute: hex(0x7a3b38),
    solo: hex(0x7d611a),
    white: hex(0xffffff),
};

/// Colours of the names in the chat, readable on panels.
pub const NAMES: [Color32; 6] =
    [hex(0x5aa9e6), hex(0xe29b5b), hex(0x7fc98f), hex(0xd58ad0), hex(0xe2b64a), hex(0x6cc5c9)];

/// Gives `ctx` our colours, sizes and spacing.
pub fn apply(ctx: &egui::Context) {
    ctx.set_theme(egui::Theme::Dark);
    ctx.all_styles_mut(|style| {
        let sizes = [
            (TextStyle::Small, SMALL, FontFamily::Proportional),
            (TextStyle::Body, BODY, FontFamily::Proportional),
            (TextStyle::Button, BODY, FontFamily::Proportional),
            (TextStyle::Heading, LARGE, FontFamily::Proportional),
            (TextStyle::Monospace, BODY, FontFamily::Monospace),
        ];
        style.text_styles =
            sizes.into_iter().map(|(name, size, family)| (name, FontId::new(size, family))).collect();
        style.animation_time = 0.0;
        style.spacing.item_spacing = egui::vec2(8.0, 8.0);
        style.spacing.button_padding = egui::vec2(12.0, 4.0);
        style.spacing.interact_size.y = 24.0;
        style.spacing.slider_rail_height = 4.0;
        visuals(&mut style.visuals);
    });
}

fn visuals(visuals: &mut egui::Visuals) {
    let palette = &DARK;
    visuals.panel_fill = palette.window;
    visuals.window_fill = palette.panel;
    visuals.window_stroke = Stroke::new(1.0, palette.control_edge);
    visuals.window_shadow = egui::Shadow::NONE;
    visuals.popup_shadow = egui::Shadow::NONE;
    visuals.menu_corner_radius = CornerRadius::same(6);
    visuals.extreme_bg_color = palette.well;
    visuals.text_edit_bg_color = Some(palette.well);
    visuals.weak_text_color = Some(palette.second);
    visuals.hyperlink_color = palette.accent;
    visuals.warn_fg_color = palette.warn;
    visuals.error_fg_color = palette.bad;
    visuals.selection.bg_fill = palette.pressed;
    visuals.selection.stroke = Stroke::new(1.0, palette.white);
    // Only meters move: a caret that stands still needs no frames.
    visuals.text_cursor.blink = false;
    visuals.interact_cursor = Some(egui::CursorIcon::PointingHand);
    let widgets = &mut visuals.widgets;
    for (state, fill, edge) in [
        (&mut widgets.noninteractive, palette.panel, palette.edge),
        (&mut widgets.inactive, palette.control, palette.control_edge),
        (&mut widgets.hovered, hex(0x2e3540), palette.second),
        (&mut widgets.active, palette.pressed, palette.accent),
        (&mut widgets.open, palette.control, palette.accent),
    ] {
        state.bg_fill = fill;
        state.weak_bg_fill = fill;
        state.bg_stroke = Stroke::new(1.0, edge);
        state.fg_stroke = Stroke::new(1.0, palette.text);
        state.corner_radius = CornerRadius::same(4);
        state.expansion = 0.0;
    }
    widgets.active.fg_stroke.color = palette.white;
}

const fn hex(rgb: u32) -> Color32 {
    Color32::from_rgb((rgb >> 16) as u8, (rgb >> 8) as u8, rgb as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contrast of two colours by WCAG 2, from 1 to 21.
    fn contrast(a: Color32, b: Color32) -> f32 {
        let luminance = |color: Color32| {
            let linear = egui::Rgba::from(color);
            0.2126 * linear.r() + 0.7152 * linear.g() + 0.0722 * linear.b()
        };
        let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
        if a > b { a / b } else { b / a }
    }

    #[test]
    fn text_is_readable_on_its_ground() {
        let p = &DARK;
        let grounds = [p.window, p.panel, p.panel_low, p.well];
        let mut pairs = vec![
            (p.white, p.pressed),
            (p.white, p.mute),
            (p.white, p.solo),
            (p.text, p.control),
            (p.second, p.well),
        ];
        for text in [p.text, p.second, p.accent, p.ok, p.warn, p.bad] {
            pairs.extend(grounds.map(|ground| (text, ground)));
        }
        pairs.extend(NAMES.map(|name| (name, p.panel_low)));
        for (text, ground) in pairs {
            let contrast = contrast(text, ground);
            assert!(contrast >= 4.5, "{text:?} on {ground:?} has {contrast:.2}");
        }
    }
}
