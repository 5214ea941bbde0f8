/* Why a packet passed, below 32, or was dropped.  The words are those of docs/datapath.md.
 *
 * Slot 0 of the counters by reason counts the events that the ring buffer had no room for.
 */
#pragma once

enum reason {
	EVENTS_LOST = 0,

	ALLOWED_BY_RULE = 1,
	NOT_ISOLATED = 2,
	SAME_POD = 3,
	FROM_OWN_NODE = 4,
	ESTABLISHED = 5,
	REPLY = 6,
	RELATED = 7,
	ARP = 8,
	NEIGHBOUR_DISCOVERY = 9,
	MULTICAST_LISTENER = 10,

	FIRST_DROP = 32,
	NO_RULE = 32,
	SERVICE_MIXED = 33,
	SPOOFED_SOURCE = 34,
	FOREIGN_DESTINATION = 35,
	NO_ENDPOINT = 36,
	VLAN = 37,
	ETHERTYPE = 38,
	TRUNCATED_FRAME = 39,
	IP_VERSION = 40,
	IP_HEADER_LENGTH = 41,
	TRUNCATED_IP = 42,
	IP_LENGTH = 43,
	PROTOCOL_ZERO = 44,
	FIRST_FRAGMENT = 45,
	LATER_FRAGMENT = 46,
	UNKNOWN_EXTENSION = 47,
	TOO_MANY_EXTENSIONS = 48,
	ROUTING_HEADER = 49,
	TRUNCATED_TRANSPORT = 50,
	TCP_HEADER = 51,
	PORT_ZERO = 52,
	ICMP_ERROR = 53,
	FORGED_NEIGHBOUR = 54,
};
