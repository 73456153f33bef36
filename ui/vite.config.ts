import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

const server = process.env.REMUDA_URL ?? "http://127.0.0.1:8080";

export default defineConfig(({ command }) => ({
  // The server owns "/": pages are its single index.html, files live under /static/ and carry their hash.
  base: command === "build" ? "/static/" : "/",
  plugins: [svelte()],
  build: {
    // scripts/ui-build puts it into src/remuda/static, new files before old ones go, so that a running server stays whole.
    outDir: "dist",
    emptyOutDir: true,
    target: "es2022",
    // The content security policy allows no inlined fonts or scripts.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 700,
  },
  server: { proxy: { "/v1": { target: server, ws: true, changeOrigin: false } } },
}));
