// The page against the program in one run: the same run on the same software adapter (SwiftShader), steps a second and
// their ratio; and what drawing costs the page while it trains.
//
//   node bench.mjs [steps]        (as page.test.mjs: needs web/dist, the program, Chromium)

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { agoge, events, open, reply, serve } from "./browser.mjs";

const ICD = process.env.SWIFTSHADER_ICD ?? "/usr/lib/chromium/vk_swiftshader_icd.json";
const steps = Number(process.argv[2] ?? 60);
const settings = { target_modules: "all-linear", batch_size: 8, learning_rate: 1e-2, logging_steps: 5, eval_steps: 0, max_seq_length: 128, seed: 3, device: "gpu", steps };

/// Steps a second between the first report that is not the very first, and the last.
function speed(lines) {
    const reports = lines.filter((line) => line.loss !== undefined && line.step > 5);
    return (reports.at(-1).step - reports[0].step) / (reports.at(-1).elapsed_secs - reports[0].elapsed_secs);
}

function native() {
    const out = join(mkdtempSync(join(tmpdir(), "agoge-bench-")), "run");
    const flags = Object.entries(settings).flatMap(([name, value]) => [`--${name.replaceAll("_", "-")}`, String(value)]);
    const env = { ...process.env, VK_ICD_FILENAMES: ICD, VK_DRIVER_FILES: ICD };
    execFileSync(agoge, ["train", "--model", "agoge-demo", "--data", "agoge-demo", "--quiet", "--out", out, ...flags], { env, stdio: "inherit" });
    return speed(readFileSync(join(out, "metrics.jsonl"), "utf8").trim().split("\n").map((line) => JSON.parse(line)));
}

function share(values, at) {
    const sorted = [...values].sort((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(at * sorted.length))] ?? NaN;
}

async function page(url) {
    const { page, close } = await open(url);
    await page.evaluate(() => {
        // What a frame costs the page's thread, and the time from one frame to the next.
        const request = globalThis.requestAnimationFrame.bind(globalThis);
        globalThis.costs = [];
        globalThis.between = [];
        globalThis.requestAnimationFrame = (draw) => request((now) => {
            const start = performance.now();
            draw(now);
            costs.push(performance.now() - start);
        });
        let last;
        const tick = (now) => {
            if (last !== undefined) between.push(now - last);
            last = now;
            request(tick);
        };
        request(tick);
        received.length = 0;
    });
    const config = { ...settings, target_modules: ["all-linear"], out: "runs/bench" };
    await page.evaluate((setup) => agoge.send({ request: "start", setup }), { config, demo: true, resume: false, overwrite: true });
    await reply(page, `(reply) => reply.reply === "state" && ["ended", "failed"].includes(reply.state.state)`, 600000);
    const stepsPerSec = speed((await events(page)).filter((event) => event.event === "step"));
    const { costs, between } = await page.evaluate(() => ({ costs, between }));
    await close();
    return { stepsPerSec, costs, between };
}

const server = await serve();
const before = native();
const { stepsPerSec, costs, between } = await page(server.url);
const after = native();
server.stop();
const program = Math.max(before, after);
const shown = (value) => value.toFixed(2);
console.log(JSON.stringify({
    steps_per_sec_page: shown(stepsPerSec),
    steps_per_sec_program: [shown(before), shown(after)],
    ratio: shown(stepsPerSec / program),
    frames: costs.length,
    frame_ms_median: shown(share(costs, 0.5)),
    frame_ms_95th: shown(share(costs, 0.95)),
    between_frames_ms_median: shown(share(between, 0.5)),
    between_frames_ms_95th: shown(share(between, 0.95)),
}, null, 2));
