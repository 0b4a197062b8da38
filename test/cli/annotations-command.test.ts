import t from "tap";
import { parse } from "yaml";
import { annotationDocs } from "../../injector/annotations/annotation-docs.ts";
import { ANNOTATIONS } from "../../injector/annotations/annotations.ts";
import { ranRemora } from "./remora.ts";

t.test("every annotation is listed with type, default and meaning, without colours in a pipe", async (t) => {
  const { code, text } = await ranRemora(t, ["annotations"]);
  t.equal(code, 0);
  const lines = text.split("\n");
  for (const [name, row] of Object.entries(ANNOTATIONS))
    t.ok(
      lines.some((line) => line.startsWith(`remora.io/${name} `) && line.endsWith(`default: ${row.default}`)),
      name,
    );
  t.notMatch(text, "\u001b");
  for (const line of text.split("\n")) if (line.startsWith(" ")) t.ok(line.length <= 120, line);
});

t.test("JSON, YAML and Markdown say the same", async (t) => {
  const [json, yaml, markdown] = await Promise.all(["json", "yaml", "md"].map((form) => ranRemora(t, ["annotations", "-o", form])));
  t.strictSame(JSON.parse(json?.text ?? ""), annotationDocs());
  t.strictSame(parse(yaml?.text ?? ""), annotationDocs());
  t.equal(markdown?.text.trim().split("\n").length, Object.keys(ANNOTATIONS).length + 2);
});

t.test("one annotation is explained, with or without prefix", async (t) => {
  const [short, long] = await Promise.all(["routes", "remora.io/routes"].map((name) => ranRemora(t, ["annotations", name])));
  t.equal(short?.text, long?.text);
  t.match(short?.text, /^remora\.io\/routes\n/);
  t.match(short?.text, /^ {4}on {7}pods, namespaces \(a namespace gives its pods a default\)$/m);
  const { text } = await ranRemora(t, ["annotations", "mode", "-o", "json"]);
  t.strictSame(JSON.parse(text), {
    name: "remora.io/mode",
    type: "strict|permissive",
    allowed: "strict, permissive",
    default: "strict",
    scope: "both",
    doc: ANNOTATIONS.mode.doc,
  });
});

t.test("a name that is not there is answered with the nearest one", async (t) => {
  const wrong = await ranRemora(t, ["annotations", "mod"]);
  t.equal(wrong.code, 1);
  t.match(wrong.text, 'there is no annotation "mod"; did you mean remora.io/mode?');
  t.match((await ranRemora(t, ["annotations", "xyz"])).text, "remora annotations lists them");
  t.equal((await ranRemora(t, ["annotations", "-o", "xml"])).code, 2);
});
