// For those who run their processes with PM2:  pm2 start deploy/macos/ecosystem.config.js && pm2 save
// Settings come from .env in the checkout. launchd needs no Node: `murmur worker install-service`.
const path = require("node:path");

const root = path.resolve(__dirname, "../..");

module.exports = {
  apps: [
    {
      name: "murmuration-worker",
      cwd: root,
      script: path.join(root, ".venv/bin/murmur"),
      interpreter: "none",
      args: [
        "worker",
        "--engine", "mlx",
        "--ledger", process.env.MURMUR_LEDGER__URL || "redis://127.0.0.1:6379/0",
        "--audio", process.env.MURMUR_BLOBS__URL || "http://127.0.0.1",
        "--env-file", path.join(root, ".env"),
      ],
      // One process holds the model; more of them would only hold it more often.
      instances: 1,
      exec_mode: "fork",
      kill_timeout: 30000,
      exp_backoff_restart_delay: 500,
      // The log grows under ~/.pm2/logs; `pm2 install pm2-logrotate` keeps it short.
      time: true,
    },
  ],
};
