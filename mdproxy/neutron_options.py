# -*- test-case-name: tests.test_settings -*-
"""
What stands in the files of Neutron's agents and has no meaning for mdproxy.

From what the metadata agents of Neutron 21 and later list as theirs (neutron/opts.py),
and from the sample of neutron.conf.
"""

#: What Neutron's agents find in C{[DEFAULT]} and mdproxy has no use for: the metadata
#: agent's own, how it went to Keystone long ago, oslo.log's, oslo.messaging's,
#: oslo.service's, and neutron.conf's, which distributions give to every agent.
_OPTIONS = """
metadata_backlog metadata_proxy_group metadata_proxy_socket
metadata_proxy_socket_mode metadata_proxy_user metadata_workers
rpc_response_max_timeout

admin_password admin_tenant_name admin_user auth_insecure auth_region auth_url
endpoint_type

debug default_log_levels fatal_deprecations instance_format instance_uuid_format
log_color log_config log_config_append log_date_format log_dir log_file log_options
log_rotate_interval log_rotate_interval_type log_rotation_type logdir logfile
logging_context_format_string logging_debug_format_suffix
logging_default_format_string logging_exception_prefix logging_user_identity_format
max_logfile_count max_logfile_size_mb publish_errors rate_limit_burst
rate_limit_except_level rate_limit_interval syslog_log_facility use_eventlog
use_journal use_json use_stderr use_syslog verbose watch_log_file

conn_pool_min_size conn_pool_ttl control_exchange executor_thread_pool_size
rpc_conn_pool_size rpc_ping_enabled rpc_response_timeout transport_url

api_paste_config backdoor_port backdoor_socket client_socket_timeout
graceful_shutdown_timeout max_header_line run_external_periodic_tasks tcp_keepidle
wsgi_default_pool_size wsgi_keep_alive wsgi_log_format wsgi_server_debug

agent_down_time allow_automatic_dhcp_failover allow_automatic_l3agent_failover
allow_bulk allow_overlapping_ips allowed_conntrack_helpers api_extensions_path
api_workers auth_strategy backlog base_mac bind_host bind_port core_plugin
default_availability_zones dhcp_agent_notification dhcp_agents_per_network
dhcp_lease_duration dhcp_load_type dns_domain dvr_base_mac enable_dvr
enable_new_agents enable_services_on_agents_with_admin_state_down
enable_snat_by_default enable_traditional_dhcp external_dns_driver
filter_validation global_physnet_mtu host_dvr_for_dhcp http_retries
interface_driver ipam_driver ipv6_pd_enabled l3_ha l3_ha_net_cidr
l3_ha_network_physical_name l3_ha_network_type max_allowed_address_pair
max_dns_nameservers max_l3_agents_per_router max_routes max_subnet_host_routes
network_auto_schedule network_link_prefix network_scheduler_driver
notify_nova_on_port_data_changes notify_nova_on_port_status_changes
pagination_max_limit periodic_fuzzy_delay periodic_interval retry_until_window
router_auto_schedule router_distributed router_scheduler_driver
rpc_resources_processing_step rpc_state_report_workers rpc_workers
send_events_interval service_plugins setproctitle state_path use_ssl
vlan_transparent
"""
NEUTRON_OPTIONS = frozenset(_OPTIONS.split())

#: Neutron's sections, in lower case, beside those that begin with C{oslo_}.
_SECTIONS = """
agent cache cors database designate experimental healthcheck ironic
keystone_authtoken metadata_haproxy metadata_rate_limiting nova ovs placement
privsep profiler quotas ssl
"""
NEUTRON_SECTIONS = frozenset(_SECTIONS.split())

#: What Neutron finds in C{[ovn]} (neutron/conf/plugins/ml2/drivers/ovn/ovn_conf.py, of
#: Neutron 15 and later) beside what mdproxy has a use for.
_OVN = """
allow_stateless_action_supported bfd_min_rx bfd_min_tx bfd_mult
broadcast_arps_to_all_routers dhcp_default_lease_time
disable_ovn_dhcp_for_baremetal_ports dns_records_ovn_owned dns_servers
enable_distributed_floating_ip fdb_age_threshold fdb_removal_limit
ha_failover_strategy ignore_lsp_down live_migration_activation_strategy
localnet_learn_fdb mac_binding_age_threshold mac_binding_removal_limit
neutron_sync_mode ovn_dhcp4_global_options ovn_dhcp6_global_options
ovn_emit_need_to_frag ovn_l3_mode ovn_l3_scheduler ovn_metadata_enabled
ovn_nb_ca_cert ovn_nb_certificate ovn_nb_connection ovn_nb_private_key
ovn_router_indirect_snat ovs_create_tap ovsdb_connection_timeout ovsdb_log_level
ovsdb_probe_interval ovsdb_retry_max_interval stateless_nat_enabled vhost_sock_dir
vif_type
"""
OVN_OPTIONS = frozenset(_OVN.split())
