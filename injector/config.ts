// The settings that an operator gives the injector in the environment: what every new sidecar is like. They become part of the control plane's
// table; trust domain, namespace and control address are there already.
import { setting, type Values } from "../core/config.ts";
import { cpu, image, label, memory, type AnnotationType } from "./annotation-types.ts";
import { defaultInjectorSettings, type InjectorSettings } from "./settings.ts";

const DEFAULTS = defaultInjectorSettings("");

/** Every setting, with its variable, default and meaning. */
export const injectorSettings = {
  sidecarImage: optional(image, "Image of the sidecar. Default: `remora` of the injector's own version."),
  sidecarImagePullPolicy: setting.choice({
    values: ["Always", "IfNotPresent", "Never"],
    default: null,
    doc: "When nodes pull that image. Default: as Kubernetes does.",
  }),
  sidecarControlAddress: setting.text({
    default: null,
    pattern: /^.+:[0-9]{1,5}$/,
    allowed: "HOST:PORT",
    doc: "The control plane's gRPC address, as pods reach it. Default: the Service `remora-control` of the control namespace.",
  }),
  sidecarMode: setting.choice({ values: ["strict", "permissive"], default: null, doc: "Mode of workloads that name none. Default: as the sidecar does." }),
  sidecarCapture: setting.choice({
    values: ["transparent", "explicit"],
    default: DEFAULTS.capture,
    doc: "Capture of workloads that name none.",
  }),
  sidecarNative: setting.flag({ default: true, doc: "Run sidecars as init containers that restart; needs Kubernetes 1.29." }),
  sidecarChannel: optional(label, "Channel of workloads that name none."),
  sidecarCpuRequest: required(cpu, DEFAULTS.cpuRequest, "CPU reserved for a sidecar."),
  sidecarCpuLimit: optional(cpu, "The most CPU that a sidecar may use. Default: no limit."),
  sidecarMemoryRequest: required(memory, DEFAULTS.memoryRequest, "Memory reserved for a sidecar."),
  sidecarMemoryLimit: required(memory, DEFAULTS.memoryLimit, "The most memory that a sidecar may use."),
};

/** What the rest of the control plane's settings says. */
export interface InjectorSurroundings {
  readonly version: string;
  readonly trustDomain: string;
  readonly controlNamespace: string;
  /** Pins given by hand; those that the CA publishes are added. */
  readonly trustPins: readonly string[];
}

/** Makes the injector's settings of the values of {@link injectorSettings}. */
export function injectorSettingsFrom(values: Readonly<Values<typeof injectorSettings>>, surroundings: InjectorSurroundings): InjectorSettings {
  const { version, trustDomain, controlNamespace, trustPins } = surroundings;
  const defaults = defaultInjectorSettings(version);
  return {
    ...defaults,
    image: values.sidecarImage ?? defaults.image,
    imagePullPolicy: values.sidecarImagePullPolicy,
    controlAddress: values.sidecarControlAddress ?? `remora-control.${controlNamespace}.svc:15010`,
    controlNamespace,
    trustDomain,
    trustPins,
    mode: values.sidecarMode,
    capture: values.sidecarCapture,
    nativeSidecar: values.sidecarNative,
    channel: values.sidecarChannel,
    cpuRequest: values.sidecarCpuRequest,
    cpuLimit: values.sidecarCpuLimit,
    memoryRequest: values.sidecarMemoryRequest,
    memoryLimit: values.sidecarMemoryLimit,
  };
}

function required(type: AnnotationType<string>, usual: string, doc: string) {
  return setting.parsed<string>({ default: usual, parse: parserOf(type), allowed: type.allowed, format: String, doc });
}

function optional(type: AnnotationType<string>, doc: string) {
  return setting.parsed<string>({ default: null, parse: parserOf(type), allowed: type.allowed, format: String, doc });
}

/** The same grammar as the annotation that beats the setting. */
function parserOf(type: AnnotationType<string>): (text: string) => string {
  return (text) => {
    const value = type.parse(text);
    if (value === null) throw new RangeError(`expected ${type.allowed}`);
    return value;
  };
}
