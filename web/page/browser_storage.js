// What a page keeps in the browser's own storage (the origin private file system), so that runs outlive the page.

/// Folders of the page that are kept.
const KEPT = ["runs", "models", "data"];

export class Vault {
    /// Opens it. Where the browser has none, or another page has it (`keeps` is false), nothing is kept.
    static async open(keeps) {
        const vault = new Vault();
        try {
            if (keeps) vault.root = await navigator.storage.getDirectory();
        } catch {
            // A private window, or a page that did not come through https or from this machine.
        }
        vault.isThere = vault.root !== undefined;
        return vault;
    }

    /// Gives every file that is kept, with its path.
    async each(give) {
        if (!this.isThere) return;
        const walk = async (folder, above) => {
            for await (const [name, handle] of folder.entries()) {
                const path = above ? `${above}/${name}` : name;
                if (handle.kind === "directory") {
                    await walk(handle, path);
                } else if (name.endsWith(".part")) {
                    // Half written when the page went away.
                    await folder.removeEntry(name);
                } else {
                    await give(path, await handle.getFile());
                }
            }
        };
        await walk(this.root, "");
    }

    /// Repeats what was done to a path: removed (`content` is undefined), or written from a place on. The sentence that
    /// says why that cannot be kept, if so.
    async keep(path, from, content) {
        const parts = path.split("/");
        if (!this.isThere || !KEPT.includes(parts[0])) return undefined;
        try {
            const name = parts.pop();
            let folder = this.root;
            for (const part of parts) folder = await folder.getDirectoryHandle(part, { create: content !== undefined });
            if (content === undefined) {
                await folder.removeEntry(name, { recursive: true });
            } else if (from > 0) {
                await write(await folder.getFileHandle(name, { create: true }), from, content);
            } else {
                // Whole or not at all: under another name first.
                const part = await folder.getFileHandle(`${name}.part`, { create: true });
                await write(part, 0, content);
                await part.move(name);
            }
            return undefined;
        } catch (error) {
            if (content === undefined && error.name === "NotFoundError") return undefined;
            const why = error.name === "QuotaExceededError" ? "its storage is full" : error.message;
            return `This browser cannot keep ${path} (${why}): it is gone when the page is closed, so download what you need.`;
        }
    }
}

/// Most bytes that are in memory at once while a given file is copied.
const PART_BYTES = 4 << 20;

async function write(handle, from, content) {
    const access = await handle.createSyncAccessHandle();
    try {
        access.truncate(from);
        if (content instanceof Blob) {
            for (let at = 0; at < content.size; at += PART_BYTES) {
                access.write(new Uint8Array(await content.slice(at, at + PART_BYTES).arrayBuffer()), { at });
            }
        } else {
            access.write(content, { at: from });
        }
        access.flush();
    } finally {
        access.close();
    }
}
