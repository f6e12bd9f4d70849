// What the page shows outside of its window: loading progress, and messages at the top.

const byId = (id) => document.getElementById(id);

/// The downloaded share of the program; `undefined` where it is not known.
export function showProgress(share) {
    const element = byId("progress");
    if (share === undefined) element.removeAttribute("value");
    else element.value = share;
}

/// What the page is doing while it loads.
export function showStatus(text) {
    byId("status").textContent = text;
}

/// Shows or hides the welcome screen, which is shown while the page loads.
export function showWelcome(isShown) {
    byId("welcome").classList.toggle("hidden", !isShown);
}

/// A message at the top; it replaces the one with the same name.
export function showMessage(name, text, { isFault = false, action = undefined } = {}) {
    const id = `message-${name}`;
    byId(id)?.remove();
    const element = document.createElement("div");
    element.id = id;
    element.className = isFault ? "message fault" : "message";
    element.setAttribute("role", isFault ? "alert" : "status");
    const paragraph = document.createElement("p");
    paragraph.textContent = text;
    element.append(paragraph);
    if (action) element.append(button(action.text, action.run));
    element.append(button("Dismiss", () => element.remove()));
    byId("messages").append(element);
}

function button(text, run) {
    const element = document.createElement("button");
    element.textContent = text;
    element.onclick = run;
    return element;
}
