//! Actions on the selected run.

use eframe::egui;

use super::state::{App, Page};
use crate::{
    config::RunConfig,
    event::{
        Command,
        messages::{Request, Setup},
    },
    window::panels::run_controls::RunAction,
};

impl App {
    pub(super) fn act_on_run(&mut self, ctx: &egui::Context, action: RunAction) {
        let Some(at) = self.selected else { return };
        let folder = self.runs[at].folder.clone();
        let is_live = self.live.as_ref() == Some(&folder);
        match action {
            RunAction::Pause => self.send(Request::Pause),
            RunAction::Resume => self.send(Request::Resume),
            RunAction::Send(command) if is_live => {
                self.send(Request::Tell { command });
                match command {
                    Command::SetLearningRate(rate) => {
                        self.show_message(format!("The learning rate is {rate:e} from the next step on."), false);
                    }
                    Command::Save => self.show_message("A checkpoint is written after this step.", false),
                    Command::Stop => self.show_message("The run stops after this step and saves.", false),
                    Command::Pause | Command::Resume => {}
                }
            }
            RunAction::Send(command) => {
                self.send(Request::TellFolder { folder, command });
                self.show_message("The process that trains this run reads the command at its next report.", false);
            }
            RunAction::ResumeFromCheckpoint => match RunConfig::stored(&folder) {
                Ok(config) => self.start(Setup { config, demo: false, resume: true, overwrite: false }),
                Err(error) => self.show_message(error.to_string(), true),
            },
            RunAction::CopySettings => {
                match self.form.copy_settings_of(&folder) {
                    Ok(()) => self.page = Page::Start,
                    Err(error) => self.show_message(error.to_string(), true),
                }
                ctx.request_repaint();
            }
            RunAction::Use => self.page = Page::Use,
        }
    }
}
