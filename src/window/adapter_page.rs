//! The page that uses a trained adapter: generate with and without it, merge it, export it.

use std::path::{Path, PathBuf};

use eframe::egui::{
    self, Button, ComboBox, DragValue, Frame, Label, Margin, RichText, ScrollArea, Slider, TextEdit, Ui,
};

use super::{
    data::run::RunView,
    dialogs::{DialogKind, Dialogs, Purpose},
    theme,
};
use crate::event::messages::{Request, TaskEnding};

/// The text generated with or without the adapter.
#[derive(Clone, Debug, Default)]
struct Answer {
    text: String,
    done: bool,
}

/// A merge, an export or a generation that was requested.
#[derive(Clone, Debug)]
struct Task {
    number: u64,
    /// The folder it writes.
    out: Option<PathBuf>,
    text: String,
    ending: Option<TaskEnding>,
}

/// The state of the page.
pub struct AdapterPage {
    /// The prompt to continue.
    pub prompt: String,
    temperature: f32,
    max_tokens: usize,
    seed: u64,
    /// Number of the generation that is shown, and its texts: without and with the adapter.
    generation: Option<u64>,
    answers: [Answer; 2],
    /// The folder for the merged model, as text.
    pub merge_into: String,
    /// The folder for the exported adapter, as text.
    pub export_into: String,
    layout: usize,
    tasks: Vec<Task>,
    number: u64,
    /// Folder of the run that is shown.
    folder: PathBuf,
}

impl Default for AdapterPage {
    fn default() -> Self {
        Self {
            prompt: String::new(),
            temperature: 0.0,
            max_tokens: 120,
            seed: 0,
            generation: None,
            answers: Default::default(),
            merge_into: String::new(),
            export_into: String::new(),
            layout: 0,
            tasks: Vec::new(),
            number: 0,
            folder: PathBuf::new(),
        }
    }
}

impl AdapterPage {
    /// Appends generated text.
    pub fn append_text(&mut self, number: u64, adapted: bool, text: &str, done: bool) {
        if self.generation == Some(number) {
            let answer = &mut self.answers[usize::from(adapted)];
            answer.text += text;
            answer.done |= done;
        }
    }

    /// Updates the progress of a task.
    pub fn update_task(&mut self, number: u64, text: String, ending: Option<TaskEnding>) {
        if self.generation == Some(number) && ending.is_some() {
            self.answers.iter_mut().for_each(|answer| answer.done = true);
        }
        match self.tasks.iter_mut().find(|task| task.number == number) {
            Some(task) => (task.text, task.ending) = (text, ending),
            None => self.tasks.push(Task { number, out: None, text, ending }),
        }
    }

    /// Shows another run: texts and folders of the last one are dropped.
    fn show_run(&mut self, run: &RunView) {
        self.folder.clone_from(&run.folder);
        (self.generation, self.answers) = (None, Default::default());
        self.merge_into = sibling_folder(run, "merged");
        self.export_into = sibling_folder(run, "exported");
    }

    /// A new task that writes a folder.
    fn new_task(&mut self, out: &Path) -> u64 {
        let number = self.next_number();
        self.tasks.push(Task { number, out: Some(out.to_path_buf()), text: "waiting".into(), ending: None });
        number
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn is_generating(&self) -> bool {
        self.generation.is_some() && !self.answers.iter().all(|answer| answer.done)
    }

    /// Draws the page for one run.
    pub fn page(
        &mut self,
        ui: &mut Ui,
        run: Option<&RunView>,
        layouts: &[(String, String)],
        dialogs: &Dialogs,
        download: Option<&dyn Fn(&Path)>,
    ) -> Vec<Request> {
        let mut requests = Vec::new();
        let Some(run) = run else {
            ui.heading("Use an adapter");
            ui.weak("Choose a run on the left, or open the folder of one.");
            return requests;
        };
        if self.folder != run.folder {
            self.show_run(run);
        }
        if self.prompt.is_empty()
            && let Some(answers) = run.samples.first()
        {
            self.prompt.clone_from(&answers.prompt);
        }
        ScrollArea::vertical().id_salt("workbench").auto_shrink(false).show(ui, |ui| {
            ui.heading(format!("Use {}", run.name));
            if run.status.is_under_way() {
                ui.weak("The run is in progress: the best adapter so far is used.");
            }
            ui.add_space(4.0);
            self.generate(ui, run, &mut requests);
            ui.add_space(16.0);
            ui.columns(2, |columns| {
                self.merge(&mut columns[0], run, dialogs, &mut requests);
                self.export(&mut columns[1], run, layouts, dialogs, &mut requests);
            });
            if let Some(download) = download {
                ui.add_space(12.0);
                ui.strong("Download");
                ui.weak("The run with its adapter, as the program and this page open it: settings, metrics and adapter weights.");
                if ui.button("Download the adapter").clicked() {
                    download(&run.folder);
                }
            }
            self.tasks(ui, download);
        });
        requests
    }

    fn generate(&mut self, ui: &mut Ui, run: &RunView, requests: &mut Vec<Request>) {
        let label = ui.label("Prompt");
        ui.add(TextEdit::multiline(&mut self.prompt).desired_rows(3).desired_width(f32::INFINITY))
            .labelled_by(label.id);
        let shortcut = ui.input_mut(|input| input.consume_key(egui::Modifiers::COMMAND, egui::Key::Enter));
        ui.horizontal_wrapped(|ui| {
            let generating = self.is_generating();
            let generate = ui.add_enabled(!generating, Button::new(RichText::new("Generate").strong()));
            if (generate.on_hover_text("Continue the prompt with the adapter and without it (Ctrl+Enter)").clicked()
                || shortcut)
                && !generating
            {
                let number = self.next_number();
                self.generation = Some(number);
                self.answers = Default::default();
                requests.push(Request::Generate {
                    number,
                    folder: run.folder.clone(),
                    prompt: self.prompt.clone(),
                    temperature: self.temperature,
                    max_tokens: self.max_tokens,
                    seed: self.seed,
                });
            }
            if ui.add_enabled(generating, Button::new("Stop")).clicked() {
                requests.push(Request::StopGenerating);
            }
            ui.separator();
            let label = ui.label("Temperature");
            ui.add(Slider::new(&mut self.temperature, 0.0..=2.0).fixed_decimals(2))
                .labelled_by(label.id)
                .on_hover_text("0 always takes the most likely token; higher values give more varied text");
            let label = ui.label("Max tokens");
            ui.add(DragValue::new(&mut self.max_tokens).range(1..=4096)).labelled_by(label.id);
            let label = ui.label("Seed");
            ui.add(DragValue::new(&mut self.seed)).labelled_by(label.id);
        });
        let generating = self.is_generating();
        ui.columns(2, |columns| {
            for (at, (ui, title)) in columns.iter_mut().zip(["Without the adapter", "With the adapter"]).enumerate() {
                let answer = &self.answers[at];
                ui.horizontal(|ui| {
                    ui.strong(title);
                    if generating && !answer.done {
                        ui.spinner();
                    }
                });
                let stroke = if at == 1 {
                    egui::Stroke::new(1.0, theme::good(ui.visuals()))
                } else {
                    ui.visuals().widgets.noninteractive.bg_stroke
                };
                let frame = Frame::new()
                    .fill(ui.visuals().faint_bg_color)
                    .stroke(stroke)
                    .corner_radius(6)
                    .inner_margin(Margin::same(10));
                frame.show(ui, |ui| {
                    ui.set_min_height(120.0);
                    ui.set_width(ui.available_width());
                    match answer.text.is_empty() {
                        true => ui.weak(if self.generation.is_none() {
                            "Press Generate."
                        } else if answer.done {
                            "(nothing)"
                        } else {
                            "…"
                        }),
                        // A column would justify the words.
                        false => ui.vertical(|ui| ui.add(Label::new(answer.text.trim()).wrap().selectable(true))).inner,
                    };
                });
            }
        });
    }

    fn merge(&mut self, ui: &mut Ui, run: &RunView, dialogs: &Dialogs, requests: &mut Vec<Request>) {
        ui.strong("Merge");
        ui.weak("Merge the adapter into the base model and write a model folder.");
        let path = path_field(ui, "Into the folder", &mut self.merge_into, dialogs, Purpose::MergeInto);
        ui.horizontal(|ui| {
            if ui.button("Merge").clicked() {
                requests.push(Request::Merge { number: self.new_task(&path), folder: run.folder.clone(), out: path });
            }
        });
    }

    fn export(
        &mut self,
        ui: &mut Ui,
        run: &RunView,
        layouts: &[(String, String)],
        dialogs: &Dialogs,
        requests: &mut Vec<Request>,
    ) {
        ui.strong("Export");
        ui.weak("Write the adapter in the format of another program.");
        let path = path_field(ui, "To the folder", &mut self.export_into, dialogs, Purpose::ExportInto);
        ui.horizontal_wrapped(|ui| {
            let label = ui.label("Format");
            let chosen = layouts.get(self.layout).map_or("", |(name, _)| name);
            let combo = ComboBox::from_id_salt("layout").selected_text(chosen).show_ui(ui, |ui| {
                for (at, (name, about)) in layouts.iter().enumerate() {
                    ui.selectable_value(&mut self.layout, at, name).on_hover_text(about);
                }
            });
            combo.response.labelled_by(label.id);
            if ui.button("Export").clicked() {
                let format = chosen.to_owned();
                let number = self.new_task(&path);
                requests.push(Request::Export { number, folder: run.folder.clone(), format, out: path });
            }
        });
    }

    fn tasks(&mut self, ui: &mut Ui, download: Option<&dyn Fn(&Path)>) {
        ui.add_space(8.0);
        for task in self.tasks.iter().rev().take(6) {
            ui.horizontal_wrapped(|ui| match task.ending {
                None => {
                    ui.spinner();
                    ui.label(&task.text);
                }
                Some(TaskEnding::Done) => {
                    ui.colored_label(theme::good(ui.visuals()), &task.text);
                    if let (Some(download), Some(out)) = (download, &task.out)
                        && ui.small_button("Download").clicked()
                    {
                        download(out);
                    }
                }
                Some(TaskEnding::Failed) => {
                    ui.colored_label(ui.visuals().error_fg_color, &task.text);
                }
            });
        }
    }
}

/// A folder next to that of the run.
fn sibling_folder(run: &RunView, what: &str) -> String {
    let parent = run.folder.parent().map(PathBuf::from).unwrap_or_default();
    parent.join(format!("{}-{what}", run.name)).display().to_string()
}

fn path_field(ui: &mut Ui, title: &str, text: &mut String, dialogs: &Dialogs, purpose: Purpose) -> PathBuf {
    let label = ui.label(title);
    ui.horizontal(|ui| {
        let width = (ui.available_width() - 90.0).max(80.0);
        ui.add(TextEdit::singleline(text).desired_width(width)).labelled_by(label.id);
        // A page has no folders to choose from: its output is downloaded.
        if cfg!(not(target_arch = "wasm32")) && ui.button("Browse…").clicked() {
            dialogs.open(ui.ctx(), DialogKind::Folder, title, purpose);
        }
    });
    PathBuf::from(text.trim())
}
