// Files that a person gives to the page: told apart by what they are called, and laid where the program looks for them.

/// Every file of a drop, with its path inside what was dropped.
export async function fromTransfer(transfer) {
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (entries.length === 0) return [...transfer.files].map((file) => ({ name: file.name, file }));
    const found = [];
    const walk = async (entry, above) => {
        const name = above ? `${above}/${entry.name}` : entry.name;
        if (entry.isFile) {
            found.push({ name, file: await new Promise((done, fail) => entry.file(done, fail)) });
            return;
        }
        const reader = entry.createReader();
        // A reader gives a hundred entries at a time.
        for (;;) {
            const some = await new Promise((done, fail) => reader.readEntries(done, fail));
            if (some.length === 0) return;
            for (const one of some) await walk(one, name);
        }
    };
    for (const entry of entries) await walk(entry, "");
    return found;
}

/// Files by which a folder is known to hold an adapter: the program's own, PEFT's, and that of the SpaRTA authors' package.
export const ADAPTERS = ["adapter.json", "adapter_config.json", "sparse_deltas.safetensors"];

/// Where these files go: runs and adapters, models, and data each have their folder. `undefined` where there are none.
export function gather(found) {
    const files = found.filter(({ name }) => !name.split("/").pop().startsWith("."));
    if (files.length === 0) return undefined;
    const base = files.map(({ name }) => name.split("/").pop());
    const has = (name) => base.includes(name);
    const top = files[0].name.includes("/") ? files[0].name.split("/")[0] : undefined;
    const isRun = has("metrics.jsonl");
    const adapter = ADAPTERS.find(has);
    const isModel = has("config.json") && base.some((name) => name.endsWith(".safetensors"));
    if (isRun || adapter || isModel) {
        // Only what lies right in the folder, and the checkpoints of a run.
        const folder = isRun || adapter ? `runs/${top ?? (isRun ? "given" : `given-${adapter.split(".")[0]}`)}` : `models/${top ?? "model"}`;
        const inside = files.map(({ name, file }) => ({ path: `${folder}/${top ? name.slice(top.length + 1) : name}`, file }));
        return { path: folder, files: inside };
    }
    if (files.length === 1) {
        const path = `data/${base[0]}`;
        return { path, files: [{ path, file: files[0].file }] };
    }
    const folder = `data/${top ?? "given"}`;
    return { path: folder, files: files.map(({ name, file }) => ({ path: `${folder}/${name.split("/").pop()}`, file })) };
}
