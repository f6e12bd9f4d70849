//! Opening the window on the desktop.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use eframe::egui::ViewportBuilder;

use super::{
    app::{App, Closing, Options, STORAGE_KEY},
    link::{Link, Wake, wake},
    pace::Pace,
    remember::Remembered,
};
use crate::{Error, Result};

/// What to do where there can be no window.
const WITHOUT: &str = "without one use the commands that `agoge --help` lists, such as train, demo and inspect";

const ICON: &[u8] = include_bytes!("../../assets/icon.png");

/// Opens the window and stays in it until it is closed. `connect` makes the line to the desk, once there is a window to
/// wake. Gives what is to become of a run that is under way.
///
/// # Errors
/// There is no display, or nothing that can draw on it.
pub fn open(options: Options, connect: impl FnOnce(Wake) -> Link) -> Result<Closing> {
    show(options, connect, None, |app| Box::new(app))
}

/// As [`open`], with the application wrapped into another one, and remembering things in `memory` instead of the usual
/// place.
pub(super) fn show(
    options: Options,
    connect: impl FnOnce(Wake) -> Link,
    memory: Option<PathBuf>,
    wrap: impl FnOnce(App) -> Box<dyn eframe::App>,
) -> Result<Closing> {
    if !has_display() {
        return Err(Error::Device(format!(
            "there is no display to open a window on (neither WAYLAND_DISPLAY nor DISPLAY is set); {WITHOUT}"
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
    let native = eframe::NativeOptions { viewport, persistence_path: memory, ..eframe::NativeOptions::default() };
    let create = move |context: &eframe::CreationContext<'_>| {
        let is_software = context
            .wgpu_render_state
            .as_ref()
            .is_some_and(|state| state.adapter.get_info().device_type == eframe::wgpu::DeviceType::Cpu);
        let pace = Pace::new(is_software);
        let link = connect(wake(&context.egui_ctx, &pace));
        let stored = context.storage.and_then(|storage| eframe::get_value::<Remembered>(storage, STORAGE_KEY));
        let remembered = stored.unwrap_or_else(Remembered::first);
        Ok(wrap(App::new(&context.egui_ctx, link, options, remembered, pace, closing)))
    };
    eframe::run_native("agoge", native, Box::new(create))
        .map_err(|e| Error::Device(format!("the window cannot be opened: {e}; {WITHOUT}")))?;
    let closing = decided.lock().map(|closing| *closing).unwrap_or_default();
    Ok(closing)
}

/// Whether there is anything to open a window on, as far as that can be known before.
fn has_display() -> bool {
    let is_unix_desktop = cfg!(all(unix, not(target_vendor = "apple"), not(target_os = "android")));
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_unix_desktop || ["WAYLAND_DISPLAY", "WAYLAND_SOCKET", "DISPLAY"].into_iter().any(is_set)
}
