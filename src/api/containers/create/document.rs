//! What clients send to have a container created: Docker's `ContainerConfig` with `HostConfig` and `NetworkingConfig`.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::api::document::{self, Endpoint, documents};
pub(crate) use crate::api::document::{Set, Texts, Words, texts};

/// Limits, and what stands in one object with them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limited<T> {
    pub(crate) own: T,
    pub(crate) resources: Resources,
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Limited<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // What serde flattens loses its errors where fields may be `null`.
        let object = Value::deserialize(from)?;
        let own = document::of_value(object.clone()).map_err(D::Error::custom)?;
        let resources = document::of_value(object).map_err(D::Error::custom)?;
        Ok(Self { own, resources })
    }
}

documents! {
    /// The whole body of `POST /containers/create`.
    Wanted {
        hostname: String,
        domainname: String,
        user: String,
        attach_stdin: bool,
        attach_stdout: bool,
        attach_stderr: bool,
        exposed_ports: Set,
        tty: bool,
        open_stdin: bool,
        stdin_once: bool,
        env: Vec<String>,
        cmd: Option<Words>,
        healthcheck: Option<Healthcheck>,
        image: String,
        volumes: Set,
        working_dir: String,
        entrypoint: Option<Words>,
        network_disabled: bool,
        mac_address: String,
        labels: Texts,
        stop_signal: String,
        stop_timeout: Option<i64>,
        host_config: Limited<HostConfig>,
        networking_config: NetworkingConfig,
    }

    /// Times are in nanoseconds; 0 is what the image says.
    Healthcheck {
        test: Vec<String>,
        interval: i64,
        timeout: i64,
        start_period: i64,
        start_interval: i64,
        retries: i64,
    }

    HostConfig {
        binds: Vec<String>,
        mounts: Vec<Mount>,
        tmpfs: Texts,
        volumes_from: Vec<String>,
        volume_driver: String,
        #[serde(rename = "ContainerIDFile")]
        container_id_file: String,
        log_config: LogConfig,
        network_mode: String,
        port_bindings: BTreeMap<String, Option<Vec<PortBinding>>>,
        publish_all_ports: bool,
        restart_policy: RestartPolicy,
        auto_remove: bool,
        annotations: Texts,
        cap_add: Vec<String>,
        cap_drop: Vec<String>,
        cgroupns_mode: String,
        cgroup: String,
        dns: Vec<String>,
        dns_options: Vec<String>,
        dns_search: Vec<String>,
        extra_hosts: Vec<String>,
        group_add: Vec<String>,
        ipc_mode: String,
        links: Vec<String>,
        oom_score_adj: i32,
        pid_mode: String,
        privileged: bool,
        readonly_rootfs: bool,
        security_opt: Vec<String>,
        storage_opt: Texts,
        #[serde(rename = "UTSMode")]
        uts_mode: String,
        userns_mode: String,
        shm_size: i64,
        sysctls: Texts,
        runtime: String,
        isolation: String,
        masked_paths: Option<Vec<String>>,
        readonly_paths: Option<Vec<String>>,
        init: Option<bool>,
        /// Height and width.
        console_size: Option<(u16, u16)>,
    }

    /// Limits, as `POST /containers/{}/update` has them, too.
    Resources {
        cpu_shares: i64,
        memory: i64,
        nano_cpus: i64,
        cgroup_parent: String,
        blkio_weight: u64,
        blkio_weight_device: Vec<WeightDevice>,
        blkio_device_read_bps: Vec<ThrottleDevice>,
        blkio_device_write_bps: Vec<ThrottleDevice>,
        #[serde(rename = "BlkioDeviceReadIOps")]
        blkio_device_read_iops: Vec<ThrottleDevice>,
        #[serde(rename = "BlkioDeviceWriteIOps")]
        blkio_device_write_iops: Vec<ThrottleDevice>,
        cpu_period: i64,
        cpu_quota: i64,
        cpu_realtime_period: i64,
        cpu_realtime_runtime: i64,
        cpuset_cpus: String,
        cpuset_mems: String,
        devices: Vec<Device>,
        device_cgroup_rules: Vec<String>,
        device_requests: Vec<DeviceRequest>,
        kernel_memory: i64,
        #[serde(rename = "KernelMemoryTCP")]
        kernel_memory_tcp: i64,
        memory_reservation: i64,
        memory_swap: i64,
        memory_swappiness: Option<i64>,
        oom_kill_disable: Option<bool>,
        pids_limit: Option<i64>,
        ulimits: Vec<Ulimit>,
        /// Of Windows, as the two below.
        cpu_count: i64,
        cpu_percent: i64,
        #[serde(rename = "IOMaximumIOps")]
        io_maximum_iops: i64,
        #[serde(rename = "IOMaximumBandwidth")]
        io_maximum_bandwidth: i64,
    }

    Mount {
        r#type: String,
        source: String,
        target: String,
        read_only: bool,
        bind_options: Option<BindOptions>,
        volume_options: Option<VolumeOptions>,
        tmpfs_options: Option<TmpfsOptions>,
        image_options: Option<ImageOptions>,
    }

    BindOptions {
        propagation: String,
        non_recursive: bool,
        create_mountpoint: bool,
        read_only_non_recursive: bool,
        read_only_force_recursive: bool,
    }

    VolumeOptions {
        no_copy: bool,
        labels: Texts,
        driver_config: Option<DriverConfig>,
        subpath: String,
    }

    DriverConfig {
        name: String,
        options: Texts,
    }

    TmpfsOptions {
        size_bytes: i64,
        mode: u32,
        options: Vec<Vec<String>>,
    }

    ImageOptions {
        subpath: String,
    }

    LogConfig {
        r#type: String,
        config: Texts,
    }

    PortBinding {
        host_ip: String,
        host_port: String,
    }

    RestartPolicy {
        name: String,
        maximum_retry_count: i64,
    }

    WeightDevice {
        path: String,
        weight: u64,
    }

    ThrottleDevice {
        path: String,
        rate: u64,
    }

    Device {
        path_on_host: String,
        path_in_container: String,
        cgroup_permissions: String,
    }

    DeviceRequest {
        driver: String,
        count: i64,
        #[serde(rename = "DeviceIDs")]
        device_ids: Vec<String>,
        capabilities: Vec<Vec<String>>,
    }

    Ulimit {
        name: String,
        soft: i64,
        hard: i64,
    }

    NetworkingConfig {
        endpoints_config: BTreeMap<String, Option<Endpoint>>,
    }

    /// The body of `POST /containers/{}/update`, besides the limits.
    Update {
        restart_policy: RestartPolicy,
    }
}
