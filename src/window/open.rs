//! Opening the window on the desktop.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use eframe::egui::ViewportBuilder;

use super::{
    app::App,
    link::{Link, Wake, wake},
    options::{Closing, Options},
    repaint_interval::RepaintInterval,
    saved_state::SavedState,
};
use crate::{Error, Result};

/// What to do where no window can be opened.
const WITHOUT_WINDOW: &str = "without one use the commands that `agoge --help` lists, such as train, demo and inspect";

const ICON: &[u8] = include_bytes!("../../assets/icon.png");

/// Opens the window and returns when it is closed, with what becomes of a run that is training. `connect` makes the
/// connection to the workers, once there is a window to wake.
///
/// # Errors
/// There is no display, or no adapter that can draw on it.
pub fn open(options: Options, connect: impl FnOnce(Wake) -> Link) -> Result<Closing> {
    show(options, connect, None, |app| Box::new(app))
}

/// As [`open`], with the application wrapped into another one, and with its state saved in `persistence_path` instead of
/// eframe's own file.
pub(super) fn show(
    options: Options,
    connect: impl FnOnce(Wake) -> Link,
    persistence_path: Option<PathBuf>,
    wrap: impl FnOnce(App) -> Box<dyn eframe::App>,
) -> Result<Closing> {
    if !has_display() {
        return Err(Error::Device(format!(
            "there is no display to open a window on (neither WAYLAND_DISPLAY nor DISPLAY is set); {WITHOUT_WINDOW}"
        )));
    }
    let closing = Arc::new(Mutex::new(Closing::default()));
    let decided = closing.clone();
    let mut viewport = ViewportBuilder::default()
        .with_title("agoge")
        .with_app_id("agoge")
        .with_inner_size([1280.0, 760.0])
        .with_min_inner_size([760.0, 480.0])
        .with_drag_and_drop(true);
    if let Ok(icon) = eframe::icon_data::from_png_bytes(ICON) {
        viewport = viewport.with_icon(icon);
    }
    let native = eframe::NativeOptions { viewport, persistence_path, ..eframe::NativeOptions::default() };
    let create = move |context: &eframe::CreationContext<'_>| {
        let is_software = context
            .wgpu_render_state
            .as_ref()
            .is_some_and(|state| state.adapter.get_info().device_type == eframe::wgpu::DeviceType::Cpu);
        let repaint_interval = RepaintInterval::new(is_software);
        let link = connect(wake(&context.egui_ctx, &repaint_interval));
        let saved = SavedState::load(context.storage);
        Ok(wrap(App::new(&context.egui_ctx, link, options, saved, repaint_interval, closing)))
    };
    eframe::run_native("agoge", native, Box::new(create))
        .map_err(|e| Error::Device(format!("the window cannot be opened: {e}; {WITHOUT_WINDOW}")))?;
    let closing = decided.lock().map(|closing| *closing).unwrap_or_default();
    Ok(closing)
}

/// Whether there is a display, as far as that can be known before a window is opened.
fn has_display() -> bool {
    let is_unix_desktop = cfg!(all(unix, not(target_vendor = "apple"), not(target_os = "android")));
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_unix_desktop || ["WAYLAND_DISPLAY", "WAYLAND_SOCKET", "DISPLAY"].into_iter().any(is_set)
}
