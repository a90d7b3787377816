
# The accelerator beside the processing system of a Zynq UltraScale+, as a project of Vivado.
#
#   vivado -mode batch -source project.tcl                     the project and its block design
#   vivado -mode batch -source project.tcl -tclargs bitstream  and a bitstream, and an XSA file
#
#   ps M_AXI_HPM0_FPD --> control --> accelerator S_AXI      registers
#   accelerator M_AXI --> memory0 --> ps S_AXI_HP0_FPD       programs, weights, images, results
#   accelerator interrupt ----------> ps pl_ps_irq0
#
# Of several ports, M0_AXI leads to S_AXI_HP0_FPD, M1_AXI to S_AXI_HP1_FPD, and so on.

set here [file dirname [file normalize [info script]]]
create_project $name [file join $here project] -part $device
set_property board_part $board_part [current_project]
set_property ip_repo_paths [list [file join $here ip]] [current_project]
update_ip_catalog -rebuild

create_bd_design system
create_bd_cell -type ip -vlnv xilinx.com:ip:zynq_ultra_ps_e:* ps
apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e -config {apply_board_preset 1} \
    [get_bd_cells ps]
# Ports have the widths that they have after reset, so a bitstream that is loaded later fits, too.
set_property -dict [list \
    CONFIG.PSU__USE__M_AXI_GP0 {1} \
    CONFIG.PSU__USE__M_AXI_GP1 {0} \
    CONFIG.PSU__USE__M_AXI_GP2 {0} \
    CONFIG.PSU__MAXIGP0__DATA_WIDTH {128} \
    CONFIG.PSU__USE__IRQ0 {1} \
    CONFIG.PSU__FPGA_PL0_ENABLE {1} \
    CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ $mhz \
] [get_bd_cells ps]
set switches {control}
set slaves {}
for {set n 0} {$n < [llength $memory_ports]} {incr n} {
    lappend switches memory$n
    lappend slaves SAXIGP[expr {2 + $n}]
    set_property -dict [list CONFIG.PSU__USE__S_AXI_GP[expr {2 + $n}] {1} \
        CONFIG.PSU__[lindex $slaves $n]__DATA_WIDTH $port_bits] [get_bd_cells ps]
}
create_bd_cell -type ip -vlnv $vlnv accelerator
create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset:* reset
foreach switch $switches {
    create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect:* $switch
    set_property -dict [list CONFIG.NUM_SI {1} CONFIG.NUM_MI {1} CONFIG.NUM_CLKS {1}] \
        [get_bd_cells $switch]
}

foreach {from to} {
    ps/M_AXI_HPM0_FPD control/S00_AXI
    control/M00_AXI   accelerator/S_AXI
} {
    connect_bd_intf_net [get_bd_intf_pins $from] [get_bd_intf_pins $to]
}
foreach {from tos} {
    ps/pl_clk0 {
        ps/maxihpm0_fpd_aclk reset/slowest_sync_clk control/aclk accelerator/aclk
    }
    ps/pl_resetn0              {reset/ext_reset_in}
    reset/interconnect_aresetn {control/aresetn}
    reset/peripheral_aresetn   {accelerator/aresetn}
    accelerator/interrupt      {ps/pl_ps_irq0}
} {
    foreach to $tos {
        connect_bd_net [get_bd_pins $from] [get_bd_pins $to]
    }
}

assign_bd_address -offset $registers -range $registers_bytes \
    -target_address_space [get_bd_addr_spaces ps/Data] \
    [get_bd_addr_segs accelerator/S_AXI/$block]

for {set n 0} {$n < [llength $memory_ports]} {incr n} {
    set port [lindex $memory_ports $n]
    connect_bd_intf_net [get_bd_intf_pins accelerator/$port] [get_bd_intf_pins memory$n/S00_AXI]
    connect_bd_intf_net [get_bd_intf_pins memory$n/M00_AXI] [get_bd_intf_pins ps/S_AXI_HP${n}_FPD]
    connect_bd_net [get_bd_pins ps/pl_clk0] [get_bd_pins ps/saxihp${n}_fpd_aclk]
    connect_bd_net [get_bd_pins ps/pl_clk0] [get_bd_pins memory$n/aclk]
    connect_bd_net [get_bd_pins reset/interconnect_aresetn] [get_bd_pins memory$n/aresetn]
    assign_bd_address -offset 0 -range $memory_bytes \
        -target_address_space [get_bd_addr_spaces accelerator/$port] \
        [get_bd_addr_segs ps/[lindex $slaves $n]/HP${n}_DDR_LOW]
    foreach segment [get_bd_addr_segs ps/[lindex $slaves $n]/*] {
        if {![string match */HP${n}_DDR_LOW $segment]} {
            exclude_bd_addr_seg -target_address_space [get_bd_addr_spaces accelerator/$port] \
                $segment
        }
    }
}
validate_bd_design
save_bd_design

set design [get_files system.bd]
add_files -norecurse [make_wrapper -files $design -top]
set_property top system_wrapper [current_fileset]
update_compile_order -fileset sources_1

if {[lindex $argv 0] eq "bitstream"} {
    launch_runs impl_1 -to_step write_bitstream
    wait_on_run impl_1
    if {[get_property PROGRESS [get_runs impl_1]] ne "100%"} {
        error "implementation failed; see its log in [file join $here project]"
    }
    write_hw_platform -fixed -include_bit -force -file [file join $here $name.xsa]
}
