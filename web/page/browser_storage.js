// The files of a page in the browser's own storage (the origin private file system), so that runs outlive the page.

/// Folders of the page whose files are stored.
const STORED_FOLDERS = ["runs", "models", "data"];

export class BrowserStorage {
    /// Opens it. Where the browser has none, or another page uses it (`isOnlyPage` is false), nothing is stored.
    static async open(isOnlyPage) {
        const storage = new BrowserStorage();
        try {
            if (isOnlyPage) storage.root = await navigator.storage.getDirectory();
        } catch {
            // A private window, or a page that did not come through https or from this machine.
        }
        storage.isAvailable = storage.root !== undefined;
        return storage;
    }

    /// Calls `visit` with the path and the file of every stored file.
    async forEachFile(visit) {
        if (!this.isAvailable) return;
        const walk = async (folder, parent) => {
            for await (const [name, handle] of folder.entries()) {
                const path = parent ? `${parent}/${name}` : name;
                if (handle.kind === "directory") {
                    await walk(handle, path);
                } else if (name.endsWith(".part")) {
                    // Half written when the page was closed.
                    await folder.removeEntry(name);
                } else {
                    await visit(path, await handle.getFile());
                }
            }
        };
        await walk(this.root, "");
    }

    /// Applies a change of a file: removed (`content` is undefined), or written from the byte `from` on. Returns a sentence
    /// that says why it cannot be stored, if so.
    async apply(path, from, content) {
        const parts = path.split("/");
        if (!this.isAvailable || !STORED_FOLDERS.includes(parts[0])) return undefined;
        try {
            const name = parts.pop();
            let folder = this.root;
            for (const part of parts) folder = await folder.getDirectoryHandle(part, { create: content !== undefined });
            if (content === undefined) {
                await folder.removeEntry(name, { recursive: true });
            } else if (from > 0) {
                await write(await folder.getFileHandle(name, { create: true }), from, content);
            } else {
                // Whole or not at all: written under a temporary name, then renamed.
                const part = await folder.getFileHandle(`${name}.part`, { create: true });
                await write(part, 0, content);
                await part.move(name);
            }
            return undefined;
        } catch (error) {
            if (content === undefined && error.name === "NotFoundError") return undefined;
            const why = error.name === "QuotaExceededError" ? "its storage is full" : error.message;
            return `This browser cannot store ${path} (${why}): it is lost when the page is closed, so download what you need.`;
        }
    }
}

/// Most bytes in memory at once while a file is copied.
const CHUNK_BYTES = 4 << 20;

async function write(handle, from, content) {
    const access = await handle.createSyncAccessHandle();
    try {
        access.truncate(from);
        if (content instanceof Blob) {
            for (let at = 0; at < content.size; at += CHUNK_BYTES) {
                access.write(new Uint8Array(await content.slice(at, at + CHUNK_BYTES).arrayBuffer()), { at });
            }
        } else {
            access.write(content, { at: from });
        }
        access.flush();
    } finally {
        access.close();
    }
}
