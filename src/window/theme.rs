//! Colours and spacing, for dark and for light.

use eframe::egui::{self, Color32, CornerRadius, FontFamily, FontId, Margin, Stroke, TextStyle, Theme, Visuals, vec2};

/// Colours of runs: told apart by people with any kind of colour vision, on dark and on light (after Okabe & Ito 2008,
/// then lighter or darker variants).
const RUNS_DARK: [Color32; 10] = [
    Color32::from_rgb(0x5a, 0xa9, 0xff),
    Color32::from_rgb(0xff, 0xa6, 0x3d),
    Color32::from_rgb(0x3d, 0xd1, 0x9c),
    Color32::from_rgb(0xe8, 0x7b, 0xb5),
    Color32::from_rgb(0xf2, 0xd9, 0x4e),
    Color32::from_rgb(0x9d, 0x8c, 0xff),
    Color32::from_rgb(0xff, 0x7a, 0x66),
    Color32::from_rgb(0x62, 0xd6, 0xe8),
    Color32::from_rgb(0xb4, 0xd4, 0x6a),
    Color32::from_rgb(0xc9, 0xa2, 0x7e),
];
const RUNS_LIGHT: [Color32; 10] = [
    Color32::from_rgb(0x00, 0x66, 0xc4),
    Color32::from_rgb(0xcf, 0x6a, 0x00),
    Color32::from_rgb(0x00, 0x85, 0x5f),
    Color32::from_rgb(0xb0, 0x3a, 0x7b),
    Color32::from_rgb(0x8f, 0x77, 0x00),
    Color32::from_rgb(0x5c, 0x47, 0xc9),
    Color32::from_rgb(0xc4, 0x36, 0x20),
    Color32::from_rgb(0x00, 0x7f, 0x94),
    Color32::from_rgb(0x5b, 0x7a, 0x14),
    Color32::from_rgb(0x86, 0x5c, 0x38),
];

/// The colour of the run at `place` in the palette.
pub fn run_color(visuals: &Visuals, place: usize) -> Color32 {
    let palette = if visuals.dark_mode { &RUNS_DARK } else { &RUNS_LIGHT };
    palette[place % palette.len()]
}

/// The colour of the main button, of what is selected and of what is learnt.
pub fn accent(visuals: &Visuals) -> Color32 {
    run_color(visuals, 0)
}

/// The colour of good news.
pub fn good(visuals: &Visuals) -> Color32 {
    run_color(visuals, 2)
}

/// Between `low` and `high` by `share` from 0 to 1.
pub fn blend(low: Color32, high: Color32, share: f32) -> Color32 {
    low.lerp_to_gamma(high, share.clamp(0.0, 1.0))
}

/// The background of a card on a panel.
pub fn card(visuals: &Visuals) -> egui::Frame {
    let fill = if visuals.dark_mode { Color32::from_rgb(0x1d, 0x20, 0x26) } else { Color32::WHITE };
    egui::Frame::new()
        .fill(fill)
        .stroke(visuals.widgets.noninteractive.bg_stroke)
        .corner_radius(CornerRadius::same(8))
        .inner_margin(Margin::symmetric(10, 8))
}

/// Draws into the room there is and takes exactly that: content that is too wide never widens a panel.
pub fn bounded<R>(ui: &mut egui::Ui, content: impl FnOnce(&mut egui::Ui) -> R) -> R {
    let room = ui.available_rect_before_wrap();
    let mut inside = ui.new_child(egui::UiBuilder::new().max_rect(room));
    inside.set_clip_rect(room.expand(4.0).intersect(ui.clip_rect()));
    let result = content(&mut inside);
    ui.advance_cursor_after_rect(room);
    result
}

/// Sets sizes and both sets of colours; which of them shows is egui's own setting.
pub fn apply(ctx: &egui::Context) {
    for theme in [Theme::Dark, Theme::Light] {
        ctx.style_mut_of(theme, |style| {
            style.spacing.item_spacing = vec2(8.0, 6.0);
            style.spacing.button_padding = vec2(10.0, 5.0);
            style.spacing.interact_size.y = 26.0;
            style.spacing.tooltip_width = 420.0;
            style.text_styles.insert(TextStyle::Heading, FontId::new(20.0, FontFamily::Proportional));
            style.text_styles.insert(TextStyle::Body, FontId::new(14.0, FontFamily::Proportional));
            style.text_styles.insert(TextStyle::Button, FontId::new(14.0, FontFamily::Proportional));
            style.text_styles.insert(TextStyle::Small, FontId::new(11.5, FontFamily::Proportional));
            style.text_styles.insert(TextStyle::Monospace, FontId::new(13.0, FontFamily::Monospace));
            style.visuals = visuals(theme);
        });
    }
}

fn visuals(theme: Theme) -> Visuals {
    let dark = theme == Theme::Dark;
    let mut v = if dark { Visuals::dark() } else { Visuals::light() };
    let grey = Color32::from_gray;
    if dark {
        v.panel_fill = Color32::from_rgb(0x15, 0x17, 0x1c);
        v.window_fill = Color32::from_rgb(0x1d, 0x20, 0x26);
        v.extreme_bg_color = Color32::from_rgb(0x10, 0x12, 0x16);
        v.faint_bg_color = Color32::from_rgb(0x22, 0x26, 0x2d);
        v.widgets.noninteractive.bg_stroke = Stroke::new(1.0, Color32::from_rgb(0x2d, 0x32, 0x3b));
        v.widgets.noninteractive.fg_stroke = Stroke::new(1.0, grey(0xc8));
        v.widgets.inactive.fg_stroke = Stroke::new(1.0, grey(0xd8));
        v.widgets.inactive.weak_bg_fill = Color32::from_rgb(0x2b, 0x30, 0x39);
        v.widgets.inactive.bg_fill = Color32::from_rgb(0x33, 0x39, 0x44);
        v.weak_text_color = Some(Color32::from_rgb(0x93, 0x9b, 0xa8));
    } else {
        v.panel_fill = Color32::from_rgb(0xf3, 0xf4, 0xf7);
        v.window_fill = Color32::WHITE;
        v.extreme_bg_color = Color32::WHITE;
        v.faint_bg_color = Color32::from_rgb(0xec, 0xee, 0xf2);
        v.widgets.noninteractive.bg_stroke = Stroke::new(1.0, Color32::from_rgb(0xd6, 0xda, 0xe1));
        v.widgets.noninteractive.fg_stroke = Stroke::new(1.0, grey(0x33));
        v.widgets.inactive.fg_stroke = Stroke::new(1.0, grey(0x26));
        v.widgets.inactive.weak_bg_fill = Color32::from_rgb(0xe3, 0xe6, 0xec);
        v.widgets.inactive.bg_fill = Color32::from_rgb(0xd3, 0xd8, 0xe0);
        v.weak_text_color = Some(Color32::from_rgb(0x5d, 0x66, 0x73));
    }
    // Fields have an edge, so that one sees where to type.
    v.widgets.inactive.bg_stroke = Stroke::new(1.0, v.widgets.noninteractive.bg_stroke.color);
    v.error_fg_color = if dark { Color32::from_rgb(0xff, 0x8a, 0x80) } else { Color32::from_rgb(0xb7, 0x1c, 0x1c) };
    v.warn_fg_color = if dark { Color32::from_rgb(0xff, 0xc1, 0x57) } else { Color32::from_rgb(0x8a, 0x5a, 0x00) };
    v.hyperlink_color = accent(&v);
    v.selection.bg_fill = accent(&v).gamma_multiply(if dark { 0.35 } else { 0.25 });
    v.selection.stroke = Stroke::new(1.0, if dark { Color32::WHITE } else { Color32::BLACK });
    v.slider_trailing_fill = true;
    for widget in [
        &mut v.widgets.noninteractive,
        &mut v.widgets.inactive,
        &mut v.widgets.hovered,
        &mut v.widgets.active,
        &mut v.widgets.open,
    ] {
        widget.corner_radius = CornerRadius::same(6);
    }
    v
}
