# Runs a script for Vivado and notes its commands: tclsh recorder.tcl SCRIPT RECORD ARGUMENTS...
# A command that is not among these is an error. The getters return what they were asked for.

lassign $argv script record
set argv [lrange $argv 2 end]
set notes [open $record w]
proc note words {puts $::notes [join $words \t]}
foreach name {
    create_project set_property update_ip_catalog create_bd_design create_bd_cell
    apply_bd_automation connect_bd_intf_net connect_bd_net assign_bd_address exclude_bd_addr_seg
    validate_bd_design save_bd_design add_files update_compile_order launch_runs wait_on_run
    write_hw_platform
} {
    proc $name args "note \[list $name {*}\$args\]"
}
foreach name {get_bd_cells get_bd_pins get_bd_intf_pins get_bd_addr_spaces get_files get_runs} {
    proc $name what {return $what}
}
proc current_project {} {return project}
proc current_fileset {} {return sources}
proc get_bd_addr_segs what {
    if {[string match {*/\*} $what]} {
        set within [string trimright $what *]
        regexp {SAXIGP(\d)} $within _ gp
        set port HP[expr {$gp - 2}]
        return [list ${within}${port}_DDR_LOW ${within}${port}_LPS_OCM ${within}${port}_QSPI]
    }
    return $what
}
proc make_wrapper args {return wrapper.v}
proc get_property {what of} {return 100%}
source $script
close $notes
