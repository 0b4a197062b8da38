declare module "pino-roll";
