// The injector's part of the control plane's settings: what the platform team decides for every injected pod.
import { buildInfo } from "../../core/build-info.ts";
import { setting, type Values } from "../../core/config.ts";
import { ANNOTATIONS, type AnnotationName, parseAnnotation } from "../../injector/annotations/annotations.ts";
import { defaultInjectorSettings, type InjectorSettings } from "../../injector/settings.ts";

const BUILT_IN = defaultInjectorSettings("0");

/** A default takes exactly what the annotation itself takes. */
function sameAs(name: AnnotationName): { readonly parse: (text: string) => string; readonly allowed: string } {
  const parse = (text: string) => {
    const value = parseAnnotation(name, text);
    if (value === null) throw new RangeError("");
    return String(value);
  };
  return { parse, allowed: ANNOTATIONS[name].type.allowed };
}

/** Every setting, with its variable, default and meaning. */
export const injectorSettings = {
  webhookClientCa: setting.text({
    default: null,
    doc: "PEM file with the roots of who may call the webhook; read again each 30 s. Default: everybody who reaches the port.",
  }),
  webhookClientNames: setting.list({
    default: [],
    doc: "Common names, DNS names or URIs, of which the certificate of a caller must have one. Default: any. Needs `REMORA_WEBHOOK_CLIENT_CA`.",
  }),
  sidecarImage: setting.parsed({
    ...sameAs("image"),
    default: null,
    doc: "The sidecar's image; annotation `remora.io/image` beats it. Default: `remora:` and the version.",
  }),
  sidecarPullPolicy: setting.choice({
    values: ["Always", "IfNotPresent", "Never"],
    default: null,
    doc: "`imagePullPolicy` of the sidecar's containers.",
  }),
  sidecarMode: setting.choice({ values: ["strict", "permissive"], default: null, doc: "Default of annotation `remora.io/mode`." }),
  sidecarCapture: setting.choice({
    values: ["transparent", "explicit", "auto"],
    default: BUILT_IN.capture,
    doc: "Default of annotation `remora.io/capture`.",
  }),
  sidecarNative: setting.flag({ default: BUILT_IN.nativeSidecar, doc: "Default of annotation `remora.io/native-sidecar`." }),
  sidecarChannel: setting.parsed({ ...sameAs("channel"), default: null, doc: "Channel of pods that name none." }),
  sidecarCpuRequest: setting.parsed({ ...sameAs("cpu-request"), default: BUILT_IN.cpuRequest, doc: "CPU request of the sidecar." }),
  sidecarCpuLimit: setting.parsed({ ...sameAs("cpu-limit"), default: null, doc: "CPU limit of the sidecar." }),
  sidecarMemoryRequest: setting.parsed({
    ...sameAs("memory-request"),
    default: BUILT_IN.memoryRequest,
    doc: "Memory request of the sidecar.",
  }),
  sidecarMemoryLimit: setting.parsed({ ...sameAs("memory-limit"), default: BUILT_IN.memoryLimit, doc: "Memory limit of the sidecar." }),
};

/** The object that the injector works with. */
export function toInjectorSettings(
  values: Readonly<Values<typeof injectorSettings>>,
  mesh: Pick<InjectorSettings, "controlNamespace" | "trustDomain" | "trustPins"> & { readonly controlAddress: string | null },
): InjectorSettings {
  const builtIn = defaultInjectorSettings(buildInfo().version);
  return {
    ...builtIn,
    image: values.sidecarImage ?? builtIn.image,
    imagePullPolicy: values.sidecarPullPolicy,
    mode: values.sidecarMode,
    capture: values.sidecarCapture,
    nativeSidecar: values.sidecarNative,
    channel: values.sidecarChannel,
    cpuRequest: values.sidecarCpuRequest,
    cpuLimit: values.sidecarCpuLimit,
    memoryRequest: values.sidecarMemoryRequest,
    memoryLimit: values.sidecarMemoryLimit,
    controlNamespace: mesh.controlNamespace,
    trustDomain: mesh.trustDomain,
    trustPins: mesh.trustPins,
    controlAddress: mesh.controlAddress ?? `remora-control.${mesh.controlNamespace}.svc:15010`,
  };
}
