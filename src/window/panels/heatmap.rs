//! A heat map of the model: a row a layer, a column a module; the colour is the share of a tensor's entries that is
//! trainable.

use eframe::egui::{self, Color32, CornerRadius, Rect, Sense, Ui, pos2, vec2};

use crate::{
    event::TrainedTensor,
    format::{count, percent},
    window::theme,
};

/// The tensors of one layer and module.
#[derive(Clone, Debug, PartialEq)]
struct Cell {
    row: usize,
    column: usize,
    trainable: usize,
    len: usize,
}

/// The heat map of a model.
#[derive(Clone, Debug, Default, PartialEq)]
struct Heatmap {
    /// "0", "1", ... and "other" for tensors outside the layers.
    rows: Vec<String>,
    /// Last part of the tensors' names.
    columns: Vec<String>,
    cells: Vec<Cell>,
}

impl Heatmap {
    fn new(tensors: &[TrainedTensor]) -> Self {
        let mut map = Self::default();
        let layers = tensors.iter().filter_map(|tensor| layer(&tensor.name)).max().map_or(0, |last| last + 1);
        map.rows.extend((0..layers).map(|layer| layer.to_string()));
        for tensor in tensors {
            let name = tensor.name.trim_end_matches(".weight");
            let module = name.rsplit('.').next().unwrap_or(name).to_owned();
            // Biases have columns of their own.
            let module = if tensor.name.ends_with(".bias") {
                format!("{}.bias", name.trim_end_matches(".bias").rsplit('.').next().unwrap_or(name))
            } else {
                module
            };
            let row = layer(&tensor.name).unwrap_or_else(|| {
                if map.rows.len() == layers {
                    map.rows.push("other".into());
                }
                layers
            });
            let column = map.columns.iter().position(|known| *known == module).unwrap_or_else(|| {
                map.columns.push(module);
                map.columns.len() - 1
            });
            let len = tensor.shape.iter().product();
            match map.cells.iter_mut().find(|cell| (cell.row, cell.column) == (row, column)) {
                Some(cell) => {
                    cell.trainable += tensor.trained;
                    cell.len += len;
                }
                None => map.cells.push(Cell { row, column, trainable: tensor.trained, len }),
            }
        }
        map
    }

    /// Trainable share of the entries of each column's tensors.
    fn shares(&self) -> Vec<f64> {
        let share = |column| {
            let cells = self.cells.iter().filter(|cell| cell.column == column);
            let (trainable, len) = cells.fold((0, 0), |sum, cell| (sum.0 + cell.trainable, sum.1 + cell.len));
            trainable as f64 / len.max(1) as f64
        };
        (0..self.columns.len()).map(share).collect()
    }
}

/// The number of the layer that a tensor belongs to: the first whole number among the parts of its name.
fn layer(name: &str) -> Option<usize> {
    name.split('.').find_map(|part| part.parse().ok())
}

/// The colour for a trainable share: from 1 in 10,000 (pale) to all (full), on a logarithmic scale.
fn shade(share: f64, ui: &Ui) -> Color32 {
    let strength = (share.max(1e-4).log10() / 4.0 + 1.0) as f32;
    theme::blend(ui.visuals().faint_bg_color, theme::accent(ui.visuals()), 0.25 + 0.75 * strength)
}

/// Draws the heat map.
pub fn heatmap(ui: &mut Ui, tensors: &[TrainedTensor]) {
    if tensors.is_empty() {
        ui.weak("No parameter is trainable.");
        return;
    }
    let map = Heatmap::new(tensors);
    let margin = 36.0;
    // Space for the scroll bar.
    let width = (ui.available_width() - 14.0).min(420.0);
    let across = ((width - margin) / map.columns.len() as f32).min(46.0);
    let down = (220.0 / map.rows.len() as f32).clamp(4.0, 16.0);
    let size = vec2(margin + across * map.columns.len() as f32, down * map.rows.len() as f32);
    let (area, response) = ui.allocate_exact_size(size, Sense::hover());
    let cell_rect = |row: usize, column: usize| {
        let min = pos2(area.left() + margin + across * column as f32, area.top() + down * row as f32);
        Rect::from_min_size(min, vec2(across, down)).shrink(if down > 6.0 { 1.0 } else { 0.5 })
    };
    let font = egui::TextStyle::Small.resolve(ui.style());
    let every = (14.0 / down).ceil() as usize;
    for (row, name) in map.rows.iter().enumerate() {
        let has_space = row % every == 0 || name == "other";
        if has_space {
            let at = pos2(area.left() + margin - 4.0, cell_rect(row, 0).center().y);
            ui.painter().text(at, egui::Align2::RIGHT_CENTER, name, font.clone(), ui.visuals().weak_text_color());
        }
        for column in 0..map.columns.len() {
            ui.painter().rect_filled(cell_rect(row, column), CornerRadius::same(2), ui.visuals().faint_bg_color);
        }
    }
    for cell in &map.cells {
        let share = cell.trainable as f64 / cell.len.max(1) as f64;
        ui.painter().rect_filled(cell_rect(cell.row, cell.column), CornerRadius::same(2), shade(share, ui));
    }
    let shares = map.shares();
    let words: Vec<String> =
        map.columns.iter().zip(&shares).map(|(name, share)| format!("{name} {}", percent(*share))).collect();
    response.widget_info(|| {
        egui::WidgetInfo::labeled(
            egui::Role::Image,
            true,
            format!("Trainable share of the modules in {} layers: {}", map.rows.len(), words.join(", ")),
        )
    });
    let hovered =
        response.hover_pos().and_then(|at| map.cells.iter().find(|cell| cell_rect(cell.row, cell.column).contains(at)));
    if let Some(cell) = hovered {
        let layer = &map.rows[cell.row];
        let layer = if layer == "other" { String::new() } else { format!("layer {layer}, ") };
        let share = percent(cell.trainable as f64 / cell.len.max(1) as f64);
        let text = format!(
            "{layer}{}\n{} of {} parameters ({share})",
            map.columns[cell.column],
            count(cell.trainable),
            count(cell.len)
        );
        response.on_hover_text_at_pointer(text);
    }
    egui::Grid::new("shares").num_columns(2).spacing([14.0, 2.0]).min_row_height(0.0).show(ui, |ui| {
        ui.spacing_mut().interact_size.y = 0.0;
        for (at, (name, share)) in map.columns.iter().zip(&shares).enumerate() {
            ui.horizontal(|ui| {
                ui.spacing_mut().item_spacing.x = 4.0;
                let (rect, _) = ui.allocate_exact_size(vec2(9.0, 9.0), Sense::hover());
                ui.painter().rect_filled(rect, CornerRadius::same(2), shade(*share, ui));
                ui.small(format!("{name} {}", percent(*share)));
            });
            if at % 2 == 1 {
                ui.end_row();
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_grouped_by_layer_and_module() {
        let tensor = |name: &str, trained| TrainedTensor { name: name.into(), shape: vec![10, 10], trained };
        let map = Heatmap::new(&[
            tensor("model.layers.0.self_attn.q_proj.weight", 1),
            tensor("model.layers.1.self_attn.q_proj.weight", 3),
            tensor("model.layers.1.mlp.up_proj.weight", 100),
            tensor("model.embed_tokens.weight", 5),
            tensor("h.0.attn.c_attn.bias", 7),
        ]);
        assert_eq!(map.rows, ["0", "1", "other"]);
        assert_eq!(map.columns, ["q_proj", "up_proj", "embed_tokens", "c_attn.bias"]);
        assert_eq!(map.cells[1], Cell { row: 1, column: 0, trainable: 3, len: 100 });
        assert_eq!(map.cells[3].row, 2, "outside the layers");
        assert_eq!(map.shares(), [0.02, 1.0, 0.05, 0.07]);
    }
}
