// Dark or light: the system's choice, unless the switch was used.

const dark = matchMedia("(prefers-color-scheme: dark)");
const root = document.documentElement;

const kept = () => {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null;
  }
};

function apply(theme) {
  if (theme) root.dataset.theme = theme;
}

export function startTheme(button) {
  const isDark = () => (root.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  const tell = () => button.setAttribute("aria-pressed", isDark());
  button.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    apply(theme);
    tell();
    try {
      localStorage.setItem("theme", theme);
    } catch {
      // A browser that keeps nothing still switches.
    }
  });
  dark.addEventListener("change", tell);
  tell();
}

apply(kept());
