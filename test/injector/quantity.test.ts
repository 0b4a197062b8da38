import t from "tap";
import { formatQuantity, parseQuantity } from "../../injector/pod/quantity.ts";
import { repositoryOf } from "../../injector/pod/image-reference.ts";

t.test("quantities are read as Kubernetes reads them", async (t) => {
  const cases: readonly [string, number | null, number | null][] = [
    ["1", 1000, 1],
    ["100m", 100, 1],
    ["0.1", 100, 1],
    [".5", 500, 1],
    ["1.", 1000, 1],
    ["1500m", 1500, 2],
    ["1n", 1, 1],
    ["0", 0, 0],
    ["0m", 0, 0],
    ["+2", 2000, 2],
    ["-1", -1000, -1],
    ["1k", 1_000_000, 1000],
    ["1Ki", 1_024_000, 1024],
    ["64Mi", 64 * 2 ** 20 * 1000, 64 * 2 ** 20],
    ["1.5Gi", 1.5 * 2 ** 30 * 1000, 1.5 * 2 ** 30],
    ["1G", 1e12, 1e9],
    ["1E", 1e21, 1e18],
    ["1e3", 1e6, 1000],
    ["1E3", 1e6, 1000],
    ["128e6", 128e9, 128e6],
    ["", null, null],
    ["abc", null, null],
    ["1 Gi", null, null],
    ["1gi", null, null],
    ["0x10", null, null],
    ["1.2.3", null, null],
    ["1e9999", null, null],
    ["9".repeat(65), null, null],
  ];
  for (const [text, milli, one] of cases) {
    t.equal(parseQuantity(text, "milli"), milli, `${text} in thousandths`);
    t.equal(parseQuantity(text, "one"), one, text);
  }
});

t.test("what is printed reads as what it was", async (t) => {
  let state = 7;
  for (let round = 0; round < 2000; round += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const amount = state % 2 === 0 ? state : (state % 4096) * 2 ** 20;
    for (const unit of ["milli", "one"] as const) {
      const text = formatQuantity(amount, unit);
      if (parseQuantity(text, unit) !== amount) t.fail(`${amount} ${unit} is printed as ${text}`);
    }
  }
  t.equal(formatQuantity(2000, "milli"), "2");
  t.equal(formatQuantity(250, "milli"), "250m");
  t.equal(formatQuantity(256 * 2 ** 20, "one"), "256Mi");
  t.equal(formatQuantity(0, "one"), "0");
});

t.test("images of one program have one repository", async (t) => {
  const cases: readonly [string, string][] = [
    ["remora", "remora"],
    ["remora:1", "remora"],
    ["docker.io/library/remora:1", "remora"],
    ["docker.io/acme/remora", "acme/remora"],
    ["registry:5000/remora", "registry:5000/remora"],
    ["registry:5000/remora:1@sha256:abc", "registry:5000/remora"],
    ["", ""],
  ];
  for (const [image, repository] of cases) t.equal(repositoryOf(image), repository, image);
});
