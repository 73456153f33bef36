/** What this browser remembers: theme, language, log settings. Never anything secret. */

type Theme = "auto" | "light" | "dark";

function read(key: string, fallback: string): string {
  try {
    return localStorage.getItem(`remuda.${key}`) ?? fallback;
  } catch {
    return fallback;
  }
}

function write(key: string, value: string): void {
  try {
    localStorage.setItem(`remuda.${key}`, value);
  } catch {
    // Private windows may refuse; the setting then lasts as long as the page.
  }
}

class Prefs {
  theme = $state(read("theme", "auto") as Theme);
  locale = $state(read("locale", "en"));
  project = $state(read("project", ""));
  hostView = $state(read("hostView", "cards"));
  showSystem = $state(read("showSystem", "") === "1");
  logWrap = $state(read("logWrap", "1") === "1");
  logTimes = $state(read("logTimes", "1") === "1");

  constructor() {
    this.paint();
  }

  private paint(): void {
    const root = document.documentElement;
    if (this.theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = this.theme;
  }

  setTheme(theme: Theme): void {
    this.theme = theme;
    write("theme", theme);
    this.paint();
  }

  setLocale(locale: string): void {
    this.locale = locale;
    write("locale", locale);
    document.documentElement.lang = locale === "pseudo" ? "en-XA" : locale;
  }

  keep(key: "project" | "hostView", value: string): void {
    this[key] = value;
    write(key, value);
  }

  flag(key: "showSystem" | "logWrap" | "logTimes", value: boolean): void {
    this[key] = value;
    write(key, value ? "1" : "0");
  }
}

export const prefs = new Prefs();
