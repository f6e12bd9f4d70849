//! Colours and spacing, for dark and for light.

use eframe::egui::{self, Color32, CornerRadius, FontFamily, FontId, Margin, Stroke, TextStyle, Theme, Visuals, vec2};

/// Colours of runs: distinct for people with any kind of colour vision, on dark and on light (after Okabe & Ito 2008,
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

/// The colour at `index` in the palette of runs.
pub fn run_color(visuals: &Visuals, index: usize) -> Color32 {
    let palette = if visuals.dark_mode { &RUNS_DARK } else { &RUNS_LIGHT };
    palette[index % palette.len()]
}

/// The colour of the main button, of selections and of target tokens.
pub fn accent(visuals: &Visuals) -> Color32 {
    run_color(visuals, 0)
}

/// The colour of success.
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

/// Draws into the available space and takes exactly that: content that is too wide never widens a panel.
pub fn bounded<R>(ui: &mut egui::Ui, content: impl FnOnce(&mut egui::Ui) -> R) -> R {
    let space = ui.available_rect_before_wrap();
    let mut inside = ui.new_child(egui::UiBuilder::new().max_rect(space));
    inside.set_clip_rect(space.expand(4.0).intersect(ui.clip_rect()));
    let result = content(&mut inside);
    ui.advance_cursor_after_rect(space);
    result
}

/// Sets sizes and the colours of both themes; which theme is shown is egui's own setting.
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
    let choose = |of_dark: u32, of_light: u32| {
        let [_, red, green, blue] = if dark { of_dark } else { of_light }.to_be_bytes();
        Color32::from_rgb(red, green, blue)
    };
    v.panel_fill = choose(0x15_17_1c, 0xf3_f4_f7);
    v.window_fill = choose(0x1d_20_26, 0xff_ff_ff);
    v.extreme_bg_color = choose(0x10_12_16, 0xff_ff_ff);
    v.faint_bg_color = choose(0x22_26_2d, 0xec_ee_f2);
    v.widgets.noninteractive.bg_stroke = Stroke::new(1.0, choose(0x2d_32_3b, 0xd6_da_e1));
    v.widgets.noninteractive.fg_stroke = Stroke::new(1.0, choose(0xc8_c8_c8, 0x33_33_33));
    v.widgets.inactive.fg_stroke = Stroke::new(1.0, choose(0xd8_d8_d8, 0x26_26_26));
    v.widgets.inactive.weak_bg_fill = choose(0x2b_30_39, 0xe3_e6_ec);
    v.widgets.inactive.bg_fill = choose(0x33_39_44, 0xd3_d8_e0);
    v.weak_text_color = Some(choose(0x93_9b_a8, 0x5d_66_73));
    // Text fields have an edge, so that one sees where to type.
    v.widgets.inactive.bg_stroke = Stroke::new(1.0, v.widgets.noninteractive.bg_stroke.color);
    v.error_fg_color = choose(0xff_8a_80, 0xb7_1c_1c);
    v.warn_fg_color = choose(0xff_c1_57, 0x8a_5a_00);
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
