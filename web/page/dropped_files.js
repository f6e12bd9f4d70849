// Files that a person drops, chooses or pastes: recognized by their names, with the paths under which the program finds them.

/// Every file of a drop, with its path inside what was dropped.
export async function filesOfDrop(transfer) {
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (entries.length === 0) return [...transfer.files].map((file) => ({ name: file.name, file }));
    const found = [];
    const walk = async (entry, parent) => {
        const name = parent ? `${parent}/${entry.name}` : entry.name;
        if (entry.isFile) {
            found.push({ name, file: await new Promise((done, fail) => entry.file(done, fail)) });
            return;
        }
        const reader = entry.createReader();
        // A reader returns a hundred entries at a time.
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
export const ADAPTER_FILES = ["adapter.json", "adapter_config.json", "sparse_deltas.safetensors"];

/// The paths of these files in the page's storage: runs and adapters, models, and data each have a folder. `undefined`
/// where there are no files.
export function assignPaths(found) {
    const files = found.filter(({ name }) => !name.split("/").pop().startsWith("."));
    if (files.length === 0) return undefined;
    const base = files.map(({ name }) => name.split("/").pop());
    const has = (name) => base.includes(name);
    const top = files[0].name.includes("/") ? files[0].name.split("/")[0] : undefined;
    const isRun = has("metrics.jsonl");
    const adapter = ADAPTER_FILES.find(has);
    const isModel = has("config.json") && base.some((name) => name.endsWith(".safetensors"));
    if (isRun || adapter || isModel) {
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
