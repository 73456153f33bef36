/** Who is looking: first run, signed out, or signed in. */
import { del, get, post, setProject, type Resource, whenUnauthorized } from "./api";
import { route } from "./router.svelte";
import { store } from "./store.svelte";

export type Phase = "loading" | "unreachable" | "setup" | "login" | "in";

/** The person in an answer of /v1/token: an identity, or only a name. */
function identity(token: Resource | undefined): Resource | null {
  if (token?.userIdentity) return token.userIdentity as Resource;
  if (!token?.user) return null;
  return typeof token.user === "string" ? { id: token.user, type: "identity", name: token.user } : (token.user as Resource);
}

class Session {
  phase = $state<Phase>("loading");
  user = $state<Resource | null>(null);
  security = $state(true);
  version = $state("");
  expired = $state(false);
  /** Who says who people are, and where they go to log in, when it is not a password of ours. */
  provider = $state("");
  redirect = $state("");
  /** Why the way back from there did not lead in, or why there is no way there. */
  trouble = $state("");

  constructor() {
    whenUnauthorized(() => {
      if (this.phase !== "in") return;
      this.expired = true;
      this.leave();
    });
  }

  async begin(): Promise<void> {
    this.phase = "loading";
    try {
      const setup = await get<{ required: boolean; version?: string }>("/v1/setup");
      this.version = setup.version ?? "";
      if (setup.required) {
        this.phase = "setup";
        return;
      }
      await this.returned();
      await this.identify();
    } catch {
      this.phase = "unreachable";
    }
  }

  /** Back from where people log in, with a code in the address: it is for the server, and nothing to keep in the history. */
  private async returned(): Promise<void> {
    const query = new URLSearchParams(location.search);
    if (location.pathname !== "/login") return;
    const [code, state, refused] = ["code", "state", "error"].map((name) => query.get(name) ?? "");
    route.go("/", true);
    if (refused) this.trouble = query.get("error_description") || refused;
    if (!code) return;
    try {
      const told = await get<Resource>("/v1/token");
      await post("/v1/token", { code, state, authProvider: told.authProvider });
    } catch (error) {
      this.trouble = error instanceof Error ? error.message : String(error);
    }
  }

  async identify(): Promise<void> {
    const answer = await get<Resource>("/v1/token");
    // The endpoint may answer as one object or as a collection of one.
    const token = (Array.isArray(answer.data) ? answer.data[0] : answer) as Resource | undefined;
    this.security = token?.security !== false;
    this.provider = String(token?.authProvider ?? "");
    this.redirect = String(token?.redirectUrl ?? "");
    if (token?.message && !this.trouble) this.trouble = String(token.message);
    this.user = identity(token);
    if (this.user || !this.security) this.enter();
    else this.phase = "login";
  }

  /** `ours`: by a password of this installation, whatever provider is configured. */
  async login(username: string, password: string, ours = false): Promise<void> {
    const by = ours ? { authProvider: "localauthconfig" } : {};
    const token = await post<Resource>("/v1/token", { code: `${username}:${password}`, ...by });
    this.user = identity(token) ?? { id: "", type: "identity", name: username };
    this.expired = false;
    this.enter();
  }

  async setup(body: { secret: string; username: string; password: string; name: string }): Promise<void> {
    await post("/v1/setup", body);
    await this.identify();
    if (this.phase !== "in") await this.login(body.username, body.password);
  }

  async logout(): Promise<void> {
    await del("/v1/token").catch(() => undefined);
    this.expired = false;
    this.leave();
  }

  get who(): string {
    return String(this.user?.name || this.user?.login || this.user?.username || this.user?.id || "");
  }

  private enter(): void {
    this.phase = "in";
    void store.start();
  }

  private leave(): void {
    store.stop();
    setProject("");
    this.user = null;
    this.phase = "login";
  }
}

export const session = new Session();
