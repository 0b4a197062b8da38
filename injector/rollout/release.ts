// From a version to what a pod is given: the sidecar's image is the installation's, with the version as its tag. A version that is the installation's
// own keeps the image as it was set, so that one pinned by digest stays pinned.
import type { ChannelChoice } from "../platform/channels.ts";
import type { InjectorSettings } from "../settings.ts";

/** The settings for a pod of that channel and version. */
export function releasedSettings(settings: InjectorSettings, { channel, version }: ChannelChoice): InjectorSettings {
  // Without versions in the platform's file a channel is a mere label, and the injector's own setting of it holds.
  if (version === null) return settings;
  if (version === settings.version) return { ...settings, channel };
  return { ...settings, version, channel, image: imageOfVersion(settings.image, version) };
}

/** `image` with its tag and digest replaced by `version`. A colon before the last slash is a registry's port. */
export function imageOfVersion(image: string, version: string): string {
  const [name = ""] = image.split("@");
  const colon = name.lastIndexOf(":");
  const repository = colon > name.lastIndexOf("/") ? name.slice(0, colon) : name;
  return `${repository}:${version}`;
}
