use agoge::{event::messages::*, window::Remembered};

use super::scripted::{self, Script};

#[test]
fn look() {
    let script = Script::default();
    let remembered = Remembered::first();
    let mut harness = scripted::window(1280.0, 720.0, egui::Theme::Dark, remembered, &script);
    for _ in 0..4 { harness.step(); std::thread::sleep(std::time::Duration::from_millis(100)); }
    script.say(Reply::Checked { number: 1, faults: vec![Fault{setting:"data".into(), message:"data/none.jsonl: there is no such file; give a file or a folder with train.*".into()}], facts: vec!["llama, 260,032 parameters, 5 layers".into(), "2,000 rows, 120,345 tokens, 30 % learnt".into()], estimate: Some(Estimate { parts: vec![("weights".into(), 540_000_000), ("activations".into(), 900_000_000), ("trained numbers".into(), 27_000_000)], total_bytes: 1_467_000_000, limit_bytes: Some(8_000_000_000), advice: vec![] }) });
    harness.step();
    harness.step();
    harness.render().unwrap().save("/tmp/look-start.png").unwrap();
    use egui_kittest::kittest::Queryable;
    println!("{:?}", script.asked().len());
    // three runs
    let _ = &harness.get_by_label("Charts");
    for theme in [egui::Theme::Dark, egui::Theme::Light] {
        let script = Script::default();
        let mut options = scripted::options();
        options.watch = ["runs/sparta", "runs/lora", "runs/full"].map(Into::into).to_vec();
        let mut harness = scripted::window_with(1280.0, 720.0, theme, Remembered::first(), options, &script);
        script.say(scripted::recorded("runs/sparta", { let mut e = scripted::events("sparta", 1_345_150, 400, (3.2, 1.1)); e.push(scripted::finished(400)); e }));
        for _ in 0..3 { harness.step(); }
        harness.render().unwrap().save(format!("/tmp/look-one-{theme:?}.png")).unwrap();
        script.say(scripted::recorded("runs/lora", scripted::events("lora", 1_345_150, 400, (3.2, 1.2))));
        script.say(scripted::recorded("runs/full", scripted::events("full", 134_515_008, 400, (3.2, 1.05))));
        for _ in 0..3 { harness.step(); }
        harness.get_by_label("Compare").click();
        for _ in 0..3 { harness.step(); }
        harness.render().unwrap().save(format!("/tmp/look-compare-{theme:?}.png")).unwrap();
        harness.get_by_label("Use").click();
        for _ in 0..3 { harness.step(); }
        harness.render().unwrap().save(format!("/tmp/look-use-{theme:?}.png")).unwrap();
        harness.get_by_label("Charts").click();
        for _ in 0..3 { harness.step(); }
        harness.get_by_label("Samples").click();
        for _ in 0..3 { harness.step(); }
        harness.render().unwrap().save(format!("/tmp/look-samples-{theme:?}.png")).unwrap();
    }
}
